// The heat map: at which hours of the week tickets were opened, and which places gather most of them.

import { get, now } from '../api.js';
import { calmly, el, text } from '../dom.js';
import { heading, section } from '../show.js';
import { add, locale, number, stamp, t } from '../words.js';

add({
  zh: { 'heat.days': '{n} 天', 'heat.span': '时间范围', 'heat.of': '{place}，{from} 至 {to}：{n} 张工单（含再次发生）', 'heat.everywhere': '全部位置', 'heat.none': '这段时间没有工单',
    'heat.cell': '{day} {hour}–{next}：{n} 张工单', 'heat.caption': '按星期和小时统计的工单数', 'heat.places': '位置排行', 'heat.pick': '选一格看明细', 'heat.legend': '颜色：每小时工单数',
    'heat.hour': '小时', 'heat.day': '星期', 'heat.profile': '一天中的分布', 'heat.share': '{n} 张，占 {share}' },
  en: { 'heat.days': '{n} days', 'heat.span': 'Span of time', 'heat.of': '{place}, {from} to {to}: {n} tickets (with those that came again)', 'heat.everywhere': 'all places', 'heat.none': 'No tickets in this time',
    'heat.cell': '{day} {hour}–{next}: {n} tickets', 'heat.caption': 'Tickets by day of the week and hour', 'heat.places': 'Places', 'heat.pick': 'Choose a cell to see more', 'heat.legend': 'Colour: tickets in an hour of the week',
    'heat.hour': 'Hour', 'heat.day': 'Day', 'heat.profile': 'Over the day', 'heat.share': '{n}, {share} of all' },
});

const SPANS = [7, 30, 90];
const STEPS = 5;
const HOURS = [...Array(24).keys()];
const DAYS = [1, 2, 3, 4, 5, 6, 7];
const PLACES_SHOWN = 12;
const DRAWN_EVERY_MS = 500;
// Before more has come than the list of events keeps, and before the days that are shown are others.
const COUNTED_EVERY_MS = 10 * 60e3;
const COMINGS = ['gatehouse.ticket.opened', 'gatehouse.ticket.reopened'];
const NARROW = '(max-width: 44rem)';

export async function show(root, args, site) {
  const asked = Number(args.query.get('days'));
  const chosen = { days: SPANS.includes(asked) ? asked : 30, place: args.query.get('place') };
  const narrow = matchMedia(NARROW);
  // As the gateway counted, and with what has come since.
  let counted = null, askedAt = 0, answer = null, turn = 0, at = [1, 0];

  const spans = el('div', { class: 'spans', role: 'group', 'aria-label': t('heat.span') }, SPANS.map(n =>
    el('button', { type: 'button', data: { days: n }, on: { click: () => { chosen.days = n; read(); } } }, t('heat.days', { n }))));
  const told = el('p', { class: 'small', role: 'status', data: { heatTold: '' } }, t('loading'));
  const field = el('div', {});
  const detail = el('p', { class: 'heat-read', data: { heatRead: '' } }, t('heat.pick'));
  const legend = el('div', { class: 'heat-legend' });
  const places = el('div', { data: { heatPlaces: '' } });
  root.append(el('div', {}, heading(t('heat')), spans, el('section', { class: 'card', 'aria-label': t('heat.caption') }, told, field, detail, legend),
    section('heat-places', t('heat.places'), places)));

  async function read() {
    const mine = ++turn;
    askedAt = now();
    mark();
    try {
      const heard = await get(`heat?days=${chosen.days}&by=place`);
      if (mine !== turn) return;
      counted = heard;
      draw();
    } catch (error) {
      if (mine === turn) text(told, error.message);
    }
  }

  function mark() {
    for (const button of spans.children) button.setAttribute('aria-pressed', String(Number(button.dataset.days) === chosen.days));
    const query = new URLSearchParams({ days: chosen.days, ...(chosen.place === null ? {} : { place: chosen.place }) });
    history.replaceState(null, '', `#/heat?${query}`);
  }

  function draw() {
    if (!counted) return;
    answer = grown(counted, site.events);
    const cells = answer.cells.filter(cell => chosen.place === null || cell.place === chosen.place);
    const sums = weekOf(cells);
    const total = cells.reduce((sum, cell) => sum + cell.count, 0);
    const place = chosen.place === null ? t('heat.everywhere') : chosen.place || t('no-place');
    const span = { from: stamp(answer.from), to: stamp(answer.to) };
    text(told, total ? t('heat.of', { place, ...span, n: number(total) }) : `${place}, ${span.from} – ${span.to}: ${t('heat.none')}`);
    const bounds = boundsOf(Math.max(0, ...sums.flat()));
    const focused = field.contains(document.activeElement);
    field.replaceChildren(grid(sums, bounds, narrow.matches, at));
    if (focused) field.querySelector('[tabindex="0"]').focus();
    legend.replaceChildren(...legendOf(bounds));
    places.replaceChildren(placesOf(answer, chosen.place, place => {
      chosen.place = chosen.place === place ? null : place;
      mark();
      draw();
      places.querySelector(`[aria-pressed=true]`)?.focus();
    }));
  }

  function tell(day, hour) {
    at = [day, hour];
    for (const cell of field.querySelectorAll('[data-cell]')) cell.setAttribute('tabindex', cell.dataset.cell === `${day}-${hour}` ? '0' : '-1');
    if (!answer) return;
    const here = answer.cells.filter(cell => cell.weekday === day && cell.hour === hour && (chosen.place === null || cell.place === chosen.place));
    here.sort((a, b) => b.count - a.count);
    const n = here.reduce((sum, cell) => sum + cell.count, 0);
    const most = here.slice(0, 3).map(cell => `${cell.place || t('no-place')} ${cell.count}`);
    text(detail, [t('heat.cell', { day: dayName(day), hour: clock(hour), next: clock(hour + 1), n }), ...(chosen.place === null ? most : [])].join(' · '));
  }
  const cellOf = event => event.target.closest('[data-cell]');
  const tellFrom = event => { const cell = cellOf(event); if (cell) tell(...cell.dataset.cell.split('-').map(Number)); };
  for (const kind of ['focusin', 'pointerover', 'click']) field.addEventListener(kind, tellFrom);
  field.addEventListener('keydown', event => {
    const cell = cellOf(event);
    const next = cell && moved(cell.dataset.cell.split('-').map(Number), event.key, narrow.matches);
    if (!next) return;
    event.preventDefault();
    field.querySelector(`[data-cell="${next.join('-')}"]`).focus();
  });

  narrow.addEventListener('change', draw);
  const soon = calmly(draw, DRAWN_EVERY_MS);
  read();
  return {
    live(change) {
      if (change.kind === 'all') read();
      if (change.kind === 'journal' && COMINGS.includes(change.event.type)) soon();
    },
    tick() { if (now() - askedAt > COUNTED_EVERY_MS) read(); },
    end() { turn++; soon.stop(); narrow.removeEventListener('change', draw); },
  };
}

/** The gateway counts once a minute; what came after its count is added here. */
export function grown(counted, events) {
  const late = events.filter(event => COMINGS.includes(event.type) && event.time > counted.to);
  if (!late.length) return counted;
  const local = new Intl.DateTimeFormat('en', { timeZone: counted.timezone, weekday: 'short', hour: 'numeric', hourCycle: 'h23' });
  const cells = late.map(({ time, data }) => {
    const of = Object.fromEntries(local.formatToParts(new Date(time)).map(part => [part.type, part.value]));
    return { place: data.place || '', weekday: WEEK.indexOf(of.weekday) + 1, hour: Number(of.hour), count: 1 };
  });
  const places = new Map(counted.places.map(({ place, count }) => [place, count]));
  for (const { place } of cells) places.set(place, (places.get(place) || 0) + 1);
  return { ...counted, to: late.map(event => event.time).sort().at(-1), cells: [...counted.cells, ...cells], places: [...places].map(([place, count]) => ({ place, count })) };
}
const WEEK = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** `[day - 1][hour]` → how many. */
function weekOf(cells) {
  const sums = DAYS.map(() => HOURS.map(() => 0));
  for (const { weekday, hour, count } of cells) sums[weekday - 1][hour] += count;
  return sums;
}

/** The greatest number of each step of colour, so that the last is `most`; few numbers have a step each. */
export function boundsOf(most) {
  const steps = Math.min(STEPS, most);
  return [...Array(steps).keys()].map(n => Math.ceil(most * (n + 1) / steps));
}
const stepOf = (count, bounds) => (count ? bounds.findIndex(bound => count <= bound) + 1 + (STEPS - bounds.length) : 0);

/** Where an arrow leads; hours run along a wide picture and down a narrow one. */
export function moved([day, hour], key, narrow) {
  const along = { ArrowLeft: -1, ArrowRight: 1 }[key] || 0, down = { ArrowUp: -1, ArrowDown: 1 }[key] || 0;
  if (key === 'Home') return narrow ? [1, hour] : [day, 0];
  if (key === 'End') return narrow ? [7, hour] : [day, 23];
  if (!along && !down) return null;
  const [days, hours] = narrow ? [along, down] : [down, along];
  return [Math.min(7, Math.max(1, day + days)), Math.min(23, Math.max(0, hour + hours))];
}

// The first of 2024 was a Monday.
const dayName = (day, width = 'short') => new Intl.DateTimeFormat(locale(), { weekday: width, timeZone: 'UTC' }).format(Date.UTC(2024, 0, day));
const clock = hour => `${String(hour % 24).padStart(2, '0')}:00`;

/** A table that is the picture: its numbers are read by who does not see its colours. */
function grid(sums, bounds, narrow, at) {
  const cell = (day, hour) => {
    const n = sums[day - 1][hour];
    const words = t('heat.cell', { day: dayName(day, 'long'), hour: clock(hour), next: clock(hour + 1), n });
    return el('td', { role: 'gridcell', 'aria-label': words, tabindex: day === at[0] && hour === at[1] ? 0 : -1,
      data: { cell: `${day}-${hour}`, step: stepOf(n, bounds), count: n } }, n ? number(n) : '');
  };
  const dayHead = (scope, day) => el('th', { scope, role: scope === 'row' ? 'rowheader' : 'columnheader' }, dayName(day, narrow ? 'narrow' : 'short'));
  const hourHead = (scope, hour) => el('th', { scope, role: scope === 'row' ? 'rowheader' : 'columnheader' }, String(hour));
  const row = (...kids) => el('tr', { role: 'row' }, ...kids);
  const [heads, lines] = narrow
    ? [DAYS.map(day => dayHead('col', day)), HOURS.map(hour => row(hourHead('row', hour), DAYS.map(day => cell(day, hour))))]
    : [HOURS.map(hour => hourHead('col', hour)), DAYS.map(day => row(dayHead('row', day), HOURS.map(hour => cell(day, hour))))];
  return el('table', { class: 'heat', role: 'grid', 'aria-label': t('heat.caption'), data: { heat: narrow ? 'narrow' : 'wide' } },
    el('thead', { role: 'rowgroup' }, row(el('td', { role: 'gridcell' }, el('span', { class: 'hidden' }, t(narrow ? 'heat.hour' : 'heat.day'))), heads)),
    el('tbody', { role: 'rowgroup' }, lines));
}

function legendOf(bounds) {
  const item = (step, words) => el('li', {}, el('i', { class: 'heat-swatch', 'aria-hidden': 'true', data: { step } }), words);
  const ranges = bounds.map((bound, n) => {
    const first = (bounds[n - 1] ?? 0) + 1;
    return item(stepOf(bound, bounds), first === bound ? String(bound) : `${first}–${bound}`);
  });
  return [el('span', { class: 'small' }, t('heat.legend')), el('ul', {}, item(0, '0'), ranges)];
}

function placesOf(answer, chosen, choose) {
  const most = [...answer.places].sort((a, b) => b.count - a.count);
  if (!most.length) return el('p', { class: 'empty' }, t('heat.none'));
  const total = most.reduce((sum, place) => sum + place.count, 0);
  const share = new Intl.NumberFormat(locale(), { style: 'percent', maximumFractionDigits: 0 });
  return el('ul', { class: 'heat-places' }, most.slice(0, PLACES_SHOWN).map(({ place, count }) => {
    const bar = el('span', { class: 'heat-bar', 'aria-hidden': 'true' }, el('i', {}));
    bar.firstChild.style.inlineSize = `${100 * count / most[0].count}%`;
    const name = el('span', { class: 'heat-name' }, place || t('no-place'));
    const button = el('button', { type: 'button', 'aria-pressed': String(place === chosen), data: { place }, on: { click: () => choose(place) } },
      name, el('span', { class: 'val' }, t('heat.share', { n: number(count), share: share.format(count / total) })), bar,
      profile(answer.cells.filter(cell => cell.place === place)));
    return el('li', {}, button);
  }));
}

/** The hours of its day, all days together. */
function profile(cells) {
  const hours = HOURS.map(hour => cells.filter(cell => cell.hour === hour).reduce((sum, cell) => sum + cell.count, 0));
  const bounds = boundsOf(Math.max(...hours));
  return el('span', { class: 'heat-day', 'aria-hidden': 'true', title: t('heat.profile') }, hours.map(n => el('i', { data: { step: stepOf(n, bounds) } })));
}
