// Axes: time in the gateway's timezone and the reader's language, and how high a plot reaches. Pure.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 24 * HOUR;

/** Words of times in one language and timezone; the formats are costly to make, so they are made once. */
export function clock(lang, timeZone) {
  const format = options => {
    const made = new Intl.DateTimeFormat(lang, { timeZone, hourCycle: 'h23', ...options });
    return x => made.format(new Date(x * 1e3));
  };
  const exact = format({ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const moment = format({ month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const second = format({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const minute = format({ hour: '2-digit', minute: '2-digit' });
  const day = format({ month: 'short', day: 'numeric' });
  /** Beneath the axis: the day is told where it begins. */
  const ticks = (xs, every) => {
    let told = null;
    return xs.map(x => {
      const today = day(x);
      if (every >= DAY) return today;
      const time = every < MINUTE ? second(x) : minute(x);
      if (told === today) return time;
      told = today;
      return `${time}\n${today}`;
    });
  };
  return { exact, moment, ticks };
}

/**
 * From where to where a plot reaches: what was read, and the limits near it. A limit far away would press the line
 * flat; it is told at the edge instead.
 */
export function reach(low, high, limits) {
  const levels = limits.filter(Number.isFinite);
  if (!Number.isFinite(low) || !Number.isFinite(high)) {
    if (!levels.length) return [0, 1];
    [low, high] = [Math.min(...levels), Math.max(...levels)];
  }
  const [least, most] = [low, high];
  const near = Math.max((most - least) * 2, Math.max(Math.abs(least), Math.abs(most)) * 0.5);
  for (const level of levels) {
    if (level >= least - near && level <= most + near) {
      low = Math.min(low, level);
      high = Math.max(high, level);
    }
  }
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  // What never is below nothing (a pressure, a count) is not drawn as if it could be.
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

/** Unlike marks so near that a finger could not tell them apart are one: `[{at, marks}]`, by their place in pixels. */
export function gathered(marks, pixel, apart) {
  const out = [];
  for (const mark of [...marks].sort((a, b) => a.x - b.x)) {
    const at = pixel(mark.x);
    const last = out[out.length - 1];
    if (last && at - last.at < apart) last.marks.push(mark); else out.push({ at, marks: [mark] });
  }
  return out;
}
