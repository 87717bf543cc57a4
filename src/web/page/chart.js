// The plot of one point: draws what it is given, with uPlot (uplot/README.md). Fetching it is chart/point.js; its axes,
// paint, rows, words and the hands on it are beside that.

import { now } from './api.js';
import { el } from './dom.js';
import { lang, locale, said, t, timezone } from './words.js';
import { clock, gathered, reach } from './chart/axis.js';
import { bounded, hands, scaled, wish } from './chart/hand.js';
import { colours, episodes, lanes, limits as drawLimits, rolledUp } from './chart/paint.js';
import { columns, seconds } from './chart/rows.js';
import { limitText, readAt, sentence } from './chart/tell.js';

// Seconds.
const LEAST = 10;
const MOST = 400 * 86400;
const ZOOM_PAUSE_MS = 180;
// A mark is as large as a fingertip.
const FINGER = 44;
const MIN = 1, MAX = 2;
const FONT = '12px system-ui, "Noto Sans CJK SC", sans-serif';

let library = null;
/** uPlot is a classic script that makes a global. */
function uPlotLoaded() {
  library ??= new Promise((resolve, reject) => {
    const here = name => new URL(`./uplot/${name}`, import.meta.url).href;
    const script = el('script', { src: here('uPlot.iife.min.js') });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => { library = null; reject(new Error('uPlot')); };
    document.head.append(el('link', { rel: 'stylesheet', href: here('uPlot.min.css') }), script);
  });
  return library;
}

// Under way as soon as a view may need it; who draws hears whether it came.
uPlotLoaded().catch(() => {});

const isNumber = value => typeof value === 'number';

/** The gateway's timezone; this device's own where it is not known (yet, or to this browser). */
function zone() {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: timezone() }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

/**
 * Draws into `root`. `rows` are the API's buckets; `limits` come from `limitsOf`; `marks` are tickets; `from`, `to` and
 * `rolledUpTo` are times (text or milliseconds); `onZoom(from, to)` (milliseconds) is told once hands rest.
 * Returns `set(changes)`, `follow(to)`, `span()`, `say(text)`, `wait()`, `end()`. The figure has `data-plot`, `data-from` and
 * `data-to` of what is looked at, and `data-drawn-ms`: from `began` (performance.now()) until it was on the canvas,
 * and not while others are waited for (`waiting`, `wait()`).
 */
export function plot(root, given) {
  const self = { unit: '', rows: [], limits: [], marks: [], rolledUpTo: null, began: performance.now(), ...given };
  self.words = clock(locale(), zone());
  self.columns = columns(self.rows);
  self.home = self.view = [seconds(self.from), seconds(self.to)];
  self.parts = frame(self.point, word => act(word));
  root.append(self.parts.figure);
  const { area, figure } = self.parts;
  let u = null, uPlot = null, ended = false, pause = null;

  self.go = (wished, quietly = false) => {
    self.view = bounded(wished, LEAST, MOST, Math.max(self.home[1], now() / 1e3));
    if (u) u.setScale('x', { min: self.view[0], max: self.view[1] });
    clearTimeout(pause);
    if (!quietly && self.onZoom) {
      wait();
      pause = setTimeout(() => self.onZoom(...spanOf(self)), ZOOM_PAUSE_MS);
    }
    tell();
  };
  function act(word) {
    const next = word === 'reset' || word === '0' || word === 'Home' ? self.home : wish(word, self.view);
    if (next) self.go(next);
    return next !== null;
  }
  function wait() {
    self.waiting = true;
    self.began = performance.now();
    delete figure.dataset.drawnMs;
  }
  function tell() {
    // Its room stays while one looks at a time without any.
    self.parts.marks.hidden = !self.marks.length;
    self.parts.sum.textContent = sentence(self);
    [figure.dataset.from, figure.dataset.to] = spanOf(self).map(Math.round);
  }
  function draw() {
    if (!uPlot || ended) return;
    // Words have another axis.
    if (u && self.worded !== (self.columns.words !== null)) { u.destroy(); u = null; }
    if (u) u.setData(data(self), false); else build();
    u.setScale('x', { min: self.view[0], max: self.view[1] });
    requestAnimationFrame(() => {
      if (self.began === null || self.waiting) return;
      figure.dataset.drawnMs = (performance.now() - self.began).toFixed(1);
      self.began = null;
    });
  }
  function build() {
    self.worded = self.columns.words !== null;
    u = new uPlot(settings(uPlot, self), data(self), self.parts.field);
    hands(u.over, { span: () => self.view, go: self.go, focused: () => area.contains(document.activeElement) });
  }
  area.addEventListener('keydown', event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const taken = event.shiftKey && event.key.startsWith('Arrow') ? step(u, event.key, self) : act(event.key);
    if (taken) event.preventDefault();
  });
  const sizes = new ResizeObserver(() => { if (u) u.setSize(size(area)); });
  sizes.observe(area);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const redraw = () => { if (u) u.redraw(false); };
  dark.addEventListener('change', redraw);
  uPlotLoaded().then(made => { uPlot = made; draw(); }).catch(error => self.parts.read.append(error.message));
  tell();

  return {
    figure,
    span: () => spanOf(self),
    say(text) { self.parts.read.textContent = text; },
    /** Other rows are on their way: what stands there is not what was asked for. */
    wait,
    /** A new `from` or `to` is a new home; `rows` alone leave what is looked at. */
    set(changes) {
      Object.assign(self, changes.rows ? { waiting: false } : {}, changes);
      if (changes.rows) self.columns = columns(self.rows);
      if (changes.from !== undefined || changes.to !== undefined) self.home = self.view = [seconds(self.from), seconds(self.to)];
      draw();
      tell();
    },
    /** Time goes on: what is looked at now ends at `to`, and asks nothing. */
    follow(to) {
      const ending = ([from, end]) => [to / 1e3 - (end - from), to / 1e3];
      self.home = ending(self.home);
      self.go(ending(self.view), true);
    },
    end() {
      ended = true;
      clearTimeout(pause);
      sizes.disconnect();
      dark.removeEventListener('change', redraw);
      if (u) u.destroy();
      figure.remove();
    },
  };
}

const spanOf = self => self.view.map(x => x * 1e3);
const size = area => ({ width: Math.max(area.clientWidth, 200), height: area.clientWidth < 560 ? 240 : 320 });

function frame(point, act) {
  const tool = (word, sign) => el('button', { type: 'button', class: 'plot-tool', title: t(`plot.${word}`), 'aria-label': t(`plot.${word}`),
    data: { plotTool: word }, on: { click: () => act(word) } }, sign);
  const marks = el('div', { class: 'plot-marks' });
  const field = el('div', { class: 'plot-field' });
  const area = el('div', { class: 'plot-area', tabindex: '0', role: 'group', 'aria-label': t('plot.keys', { point }) }, field);
  const read = el('p', { class: 'plot-read', data: { plotRead: '' } }, t('plot.hint'));
  const sum = el('figcaption', { class: 'plot-sum', data: { plotSum: '' } });
  const tools = el('div', { class: 'plot-tools' },
    tool('earlier', '◀'), tool('wider', '−'), tool('closer', '+'), tool('later', '▶'), tool('reset', '↺'));
  const figure = el('figure', { class: 'plot', data: { plot: point } }, marks, area, el('div', { class: 'plot-foot' }, read, tools), sum);
  return { figure, marks, area, field, read, sum };
}

// An empty plot still has its axes.
function data({ columns: { x, min, max, mean, filled }, view }) {
  return x.length ? [x, min, max, mean, filled] : [view, ...Array(4).fill([null, null])];
}

function settings(uPlot, self) {
  const { parts, worded } = self;
  let ink = colours(parts.figure);
  const levels = () => self.limits.filter(limit => isNumber(limit.at)).map(limit => ({ at: limit.at, text: limitText(limit, self.unit) }));
  const axis = { stroke: () => ink.ink, grid: { stroke: () => ink.grid, width: 1 }, ticks: { show: false }, font: FONT };
  const [straight, stepped] = [uPlot.paths.linear(), uPlot.paths.stepped({ align: 1 })];
  const paths = worded ? () => null : (...all) => (self.columns.stepped ? stepped : straight)(...all);
  const series = more => ({ points: { show: false }, paths, ...more });
  const words = () => self.columns.words;
  return {
    ...size(parts.area),
    tzDate: x => uPlot.tzDate(new Date(x * 1e3), zone()),
    legend: { show: false },
    padding: [8, 14, 0, 0],
    cursor: {
      y: false, points: { show: false }, drag: { x: true, y: false, setScale: false, dist: 6 },
      bind: {
        dblclick: () => () => self.go(self.home),
        mousedown: (_, __, handle) => event => { parts.area.focus({ preventScroll: true, focusVisible: false }); if (!event.shiftKey) handle(event); },
      },
    },
    scales: {
      x: { time: true, auto: false, min: self.view[0], max: self.view[1] },
      y: { range: (_, low, high) => (worded ? [-0.6, words().length - 0.4] : reach(low, high, levels().map(level => level.at))) },
    },
    axes: [
      { ...axis, space: 74, size: 40, values: (_, xs, __, ___, every) => self.words.ticks(xs, every) },
      { ...axis, size: (_, labels) => Math.max(34, ...(labels || []).map(label => 14 + wide(String(label)))),
        ...(worded ? { splits: () => words().map((_, n) => n), values: () => words().map(said) } : { values: (_, ys) => ys.map(figures) }) },
    ],
    series: [{}, series({ width: 0 }), series({ width: 0 }),
      series({ stroke: () => ink.line, width: 1.8, points: { show: lonely, size: 5, fill: () => ink.line } }),
      series({ stroke: () => ink.filled, width: 1.6, dash: [5, 4] })],
    bands: worded ? [] : [{ series: [MAX, MIN], fill: () => ink.band }],
    hooks: {
      drawClear: [u => {
        ink = colours(parts.figure);
        const spans = self.marks.map(ticket => ({ opened: seconds(ticket.opened_at), cleared: ticket.cleared_at && seconds(ticket.cleared_at) }));
        episodes(u, spans, now() / 1e3, ink);
      }],
      draw: [u => {
        if (worded) lanes(u, self.columns, loudOf(self), now() / 1e3, ink);
        rolledUp(u, self.rolledUpTo ? seconds(self.rolledUpTo) : null, ink);
        if (!worded) drawLimits(u, levels(), ink);
        markUp(u, self);
      }],
      setSelect: [u => {
        const { left, width } = u.select;
        if (width < 6) return;
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        self.go([u.posToVal(left, 'x'), u.posToVal(left + width, 'x')]);
      }],
      setCursor: [u => { if (u.cursor.left >= 0) parts.read.textContent = readAt(self, u.posToVal(u.cursor.left, 'x')); }],
    },
  };
}

// Readings with nothing to either side make no line.
function lonely(u, index, from, to) {
  const line = u.data[index];
  let out = false;
  for (let n = from; n <= to && !out; n++) out = isNumber(line[n]) && !isNumber(line[n - 1]) && !isNumber(line[n + 1]);
  return out && to - from < 500;
}

const wide = text => [...text].reduce((sum, char) => sum + (char > '\u2e80' ? 12 : 7), 0);
const figures = y => (y === null ? '' : new Intl.NumberFormat(locale(), { maximumFractionDigits: 6 }).format(y));

/** Words at which a rule opens a ticket. */
function loudOf({ columns: { words }, limits }) {
  return new Set(words.filter(word => limits.some(({ kind, at }) =>
    (kind === 'equals' && String(at) === word) || (kind === 'not_equals' && String(at) !== word))));
}

function markUp(u, self) {
  const off = u.over.offsetLeft;
  const told = self.marks.flatMap(ticket => ['opened', 'cleared'].map(kind => ({ kind, ticket, x: ticket[`${kind}_at`] && seconds(ticket[`${kind}_at`]) })));
  const seen = told.filter(mark => mark.x && mark.x >= self.view[0] && mark.x <= self.view[1]);
  const groups = gathered(seen, x => u.valToPos(x, 'x'), FINGER);
  const key = JSON.stringify([lang(), off, groups.map(({ at, marks }) => [Math.round(at), marks.map(({ kind, ticket }) => kind + ticket.id)])]);
  if (self.marked === key) return;
  self.marked = key;
  self.parts.marks.replaceChildren(...groups.map(({ at, marks }) => {
    // From afar a ticket opens and clears in one place.
    const node = marks.every(mark => mark.ticket === marks[0].ticket) ? one(marks[0], self) : several(marks, self);
    node.style.left = `${off + at - FINGER / 2}px`;
    return node;
  }));
}

function one({ kind, ticket, x }, { words }) {
  const text = `${t('plot.' + kind)} ${words.exact(x)} ${ticket.number} ${ticket.title}`;
  return el('a', { class: `plot-mark ${kind}`, href: `#/ticket/${encodeURIComponent(ticket.id)}`, title: text, 'aria-label': text,
    data: { plotMark: kind, ticket: ticket.id, level: ticket.level } }, el('span', { 'aria-hidden': 'true' }, kind === 'opened' ? '▼' : '✓'));
}

function several(marks, self) {
  const tickets = new Set(marks.map(mark => mark.ticket)).size;
  const text = t('plot.gathered', { n: tickets });
  const [from, to] = [marks[0].x, marks[marks.length - 1].x];
  const closer = () => self.go(scaled([from, Math.max(to, from + LEAST)], 1.6));
  return el('button', { type: 'button', class: 'plot-mark many', title: text, 'aria-label': text, data: { plotMark: 'many' }, on: { click: closer } },
    el('span', {}, String(tickets)));
}

/** Shift with an arrow: what was read a little further on, aloud. */
function step(u, key, self) {
  if (!u || !['ArrowLeft', 'ArrowRight'].includes(key)) return false;
  const wide = u.over.clientWidth;
  const before = u.cursor.left >= 0 ? u.cursor.left : wide / 2;
  self.parts.read.setAttribute('aria-live', 'polite');
  u.setCursor({ left: Math.min(Math.max(before + (key === 'ArrowLeft' ? -1 : 1) * Math.max(wide / 60, 4), 0), wide), top: 10 });
  return true;
}
