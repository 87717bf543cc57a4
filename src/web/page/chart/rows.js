// Buckets of the API as columns to draw, and what is to be said of them. Pure: no page, no clock.

// Seconds. What does not change is recorded once a minute: less than two of these is no gap.
const STEADY = 130;

// From the quiet to the loud, so that a plot of words has what is normal at its foot.
const QUIET_FIRST = ['closed', 'off', 'no', 'false', 'dry', 'clear', 'absent', 'still', 'stopped', 'online', 'running',
  'present', 'moving', 'on', 'yes', 'true', 'open', 'wet', 'alarm', 'offline', 'fault'];

const isNumber = value => typeof value === 'number';
const isWord = value => typeof value === 'string' || typeof value === 'boolean';

/**
 * `rows`: `[time, min, mean, max, count]` as the API has them; those in which nothing was read are not there.
 * Returns columns of one length: `x` in seconds, and for each what it is or null. `words` instead of numbers where
 * the point says words; min and max are then numbers of these words.
 */
export function columns(rows) {
  const words = wordsOf(rows);
  const kept = rows.map(([at, min, mean, max, count]) => words
    ? { x: Date.parse(at) / 1e3, min: place(words, min), mean: null, max: place(words, max), count }
    : { x: Date.parse(at) / 1e3, min, mean, max, count });
  const patience = patienceOf(kept);
  const out = { x: [], min: [], mean: [], max: [], filled: [], count: [], words, stepped: false, patience };
  const push = (x, row) => {
    const read = row && row.count > 0 ? row : null;
    out.x.push(x);
    out.min.push(read ? read.min : null);
    out.mean.push(read ? read.mean : null);
    out.max.push(read ? read.max : null);
    out.filled.push(row && row.count === 0 && isNumber(row.mean) ? row.mean : null);
    out.count.push(row ? row.count : 0);
  };
  kept.forEach((row, n) => {
    const before = kept[n - 1];
    // One empty place breaks the line.
    if (before && row.x - before.x > patience) push(before.x + patience / 2, null);
    push(row.x, row);
  });
  const single = kept.filter(row => row.count === 1).length;
  // Single readings hold until the next; a slope between them would tell of what was not.
  out.stepped = !words && single * 2 > kept.length;
  joinFilled(out);
  return out;
}

function wordsOf(rows) {
  const found = new Set();
  for (const [, min, , max] of rows) {
    if (isNumber(min)) return null;
    if (isWord(min)) found.add(String(min));
    if (isWord(max)) found.add(String(max));
  }
  if (!found.size) return null;
  const rank = word => (QUIET_FIRST.indexOf(word) + 1 || QUIET_FIRST.length + 1);
  return [...found].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

const place = (words, value) => (isWord(value) ? words.indexOf(String(value)) : null);

function patienceOf(kept) {
  const apart = kept.slice(1).map((row, n) => row.x - kept[n].x).sort((a, b) => a - b);
  if (!apart.length) return STEADY;
  return Math.max(STEADY, 2.5 * apart[0], 3 * apart[apart.length >> 1]);
}

// The dashes begin and end where something was read.
function joinFilled({ mean, filled }) {
  const alone = filled.map(isNumber);
  alone.forEach((is, n) => {
    if (!is) return;
    if (isNumber(mean[n - 1])) filled[n - 1] = mean[n - 1];
    if (isNumber(mean[n + 1])) filled[n + 1] = mean[n + 1];
  });
}

/** The column at or before `x`, and not further before it than a value is believed; -1 where there is none. */
export function columnAt({ x, patience }, at) {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] <= at) low = middle + 1; else high = middle;
  }
  return low > 0 && at - x[low - 1] <= patience ? low - 1 : -1;
}

/**
 * Of what was recorded between `from` and `to` (seconds): least, greatest, last, how many; null of nothing. No mean: what changes
 * is recorded more often than what stands still, and a mean of these would not be that of the time.
 */
export function summary(columns, from, to) {
  const { x, min, max, count, words } = columns;
  const sum = { least: null, greatest: null, last: null, count: 0, words: new Set() };
  for (let n = 0; n < x.length; n++) {
    if (x[n] < from || x[n] > to || !isNumber(min[n])) continue;
    if (words) {
      sum.words.add(words[min[n]]).add(words[max[n]]);
    } else {
      sum.least = sum.least === null ? min[n] : Math.min(sum.least, min[n]);
      sum.greatest = sum.greatest === null ? max[n] : Math.max(sum.greatest, max[n]);
    }
    sum.count += count[n];
    // Of several in one bucket nobody knows which was the last.
    const last = min[n] === max[n] ? min[n] : null;
    sum.last = words && last !== null ? words[last] : last;
  }
  return sum.count ? sum : null;
}

/** Decimals that the readings have, at most three. */
export function decimals({ min, max }) {
  let most = 0;
  for (const value of [...min.slice(-400), ...max.slice(-400)]) {
    if (!isNumber(value)) continue;
    const text = String(Math.round(value * 1e3) / 1e3);
    most = Math.max(most, text.includes('.') ? text.length - text.indexOf('.') - 1 : 0);
  }
  return most;
}

/** Of a time as text or in milliseconds. */
export const seconds = at => (isNumber(at) ? at : Date.parse(at)) / 1e3;

/** Where the rules of a point draw a line: `{rule, kind, at, level}`; `at` is a number or a word. */
export function limitsOf(rules, point) {
  return rules.filter(rule => rule.points.includes(point)).flatMap(rule => {
    const told = (kind, at) => ({ rule: rule.id, kind, at, level: rule.level });
    const limit = rule.condition || {};
    const out = [];
    for (const [kind, value] of Object.entries(limit)) {
      if (['above', 'below', 'equals', 'not_equals'].includes(kind)) out.push(told(kind, value));
      if (kind === 'outside' && Array.isArray(value)) out.push(told('below', value[0]), told('above', value[1]));
      if (kind === 'inside' && Array.isArray(value)) out.push(told('inside', value[0]), told('inside', value[1]));
      if (kind === 'forecast') {
        for (const side of ['above', 'below']) if (isNumber(value?.[side])) out.push(told(side, value[side]));
      }
    }
    return out;
  });
}
