// The plot of a point with its readings: fetched for a span, finer as one zooms, and going on with the time.

import { get, now } from '../api.js';
import { plot } from '../chart.js';
import { el } from '../dom.js';
import { t } from '../words.js';

const SPANS = { hour: 3600e3, day: 86400e3, week: 7 * 86400e3, month: 30 * 86400e3 };
const FOLLOW_LEAST_MS = 5000;
const FOLLOW_PARTS = 300;

/**
 * The plot of a point with its choice of spans: fetches, fetches finer as one zooms (the newest wish wins), and follows
 * the time while its end is now. `limits` come from `limitsOf`, `tickets` are those of the point; `span` is hour, day, week or month;
 * without one it is a day, or an hour where there is no more yet.
 */
export function pointPlot(root, { point, unit, limits = [], tickets = [], span }) {
  const first = Object.hasOwn(SPANS, span) ? span : 'day';
  const spans = el('div', { class: 'plot-spans', role: 'group', 'aria-label': t('plot.span') });
  root.append(spans);
  let asked = 0, timer = null, abort = null;
  const drawn = plot(root, { point, unit, waiting: true, limits, marks: tickets, from: now() - SPANS[first], to: now(), onZoom: load });

  /** Quietly: the same a little later, not something else. */
  async function load(from, to, quietly = false) {
    const turn = ++asked, began = performance.now();
    if (!quietly) drawn.wait();
    abort?.abort();
    abort = new AbortController();
    const buckets = Math.min(Math.max(drawn.figure.clientWidth, 300), 1200);
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), buckets });
    try {
      const answer = await get(`points/${encodeURIComponent(point)}/history?${query}`, abort.signal);
      if (turn !== asked) return;
      if (turn === 1 && !span && isYoung(answer.buckets)) { choose('hour'); return; }
      drawn.set({ rows: answer.buckets, rolledUpTo: answer.rolled_up_to ?? null, began });
    } catch (error) {
      if (turn === asked) drawn.say(error.message);
    }
    if (turn === asked) again();
  }
  function again() {
    clearTimeout(timer);
    const [from, to] = drawn.span();
    const width = to - from;
    timer = setTimeout(() => {
      // The past is looked at, or nobody looks.
      if (document.hidden || now() - to > width / 50 + 2 * pauseOf(width)) { again(); return; }
      drawn.follow(now());
      load(...drawn.span(), true);
    }, pauseOf(width));
  }
  const isYoung = rows => rows.length > 0 && Date.parse(rows[0][0]) > now() - SPANS.hour;
  const pauseOf = width => Math.max(width / FOLLOW_PARTS, FOLLOW_LEAST_MS);
  function choose(word) {
    for (const button of spans.children) button.setAttribute('aria-pressed', String(button.dataset.span === word));
    const [from, to] = [now() - SPANS[word], now()];
    drawn.set({ from, to, waiting: true });
    load(from, to);
  }
  spans.append(...Object.keys(SPANS).map(word => el('button', { type: 'button', 'aria-pressed': 'false', data: { span: word }, on: { click: () => choose(word) } }, t(`plot.${word}`))));
  choose(first);
  return {
    set: changes => drawn.set(changes),
    end() { asked++; clearTimeout(timer); abort?.abort(); drawn.end(); spans.remove(); },
  };
}
