// Small things that several views show: a state, a level, a deadline, a reading with its quality and age.

import { el } from './dom.js';
import { add, age, fully, left, locale, said, span, t, value, when } from './words.js';

add({
  zh: { schedule: '定时', 'each-day': '每天 {time}', 'each-workday': '每周一至周五 {time}', 'each-week': '每{weekday} {time}', 'each-month': '每月 {day} 日 {time}', 'each-year': '每年{month} {day} 日 {time}' },
  en: { schedule: 'schedule', 'each-day': 'each day at {time}', 'each-workday': 'Monday to Friday at {time}', 'each-week': 'each {weekday} at {time}', 'each-month': 'on day {day} of each month at {time}', 'each-year': 'each year on {day} {month} at {time}' },
});

export const state = (word, label) => el('span', { class: 'chip', data: { state: word } }, label ?? t('state-' + word));
export const level = n => el('span', { class: 'level', data: { level: n } }, t('level' + n));
export const time = at => el('time', { datetime: at, title: fully(at) }, when(at));

/** A heading that takes the focus when the view is come to. */
export const heading = (words, ...more) => el('h1', { tabindex: -1 }, words, ...more);

export function section(id, title, ...kids) {
  return el('section', { class: 'card', 'aria-labelledby': id }, el('h2', { id }, title), ...kids);
}

// Deadlines and the states in which their step is still to be done.
const STEPS = [
  ['contact', 'contact_by', ['open']],
  ['on_site', 'on_site_by', ['open', 'acknowledged']],
  ['follow_up', 'follow_up_by', ['open', 'acknowledged', 'in_progress', 'resolved']],
];

/** `[{step, by, pending}]` of those that are set. */
export function deadlines(ticket) {
  const set = STEPS.map(([step, field, states]) =>
    ({ step, by: ticket.deadlines?.[field], pending: states.includes(ticket.state) }));
  return set.filter(one => one.by);
}

/** The next that is to be met, or null. */
export function nextDeadline(ticket) {
  const open = deadlines(ticket).filter(one => one.pending);
  return open.sort((a, b) => Date.parse(a.by) - Date.parse(b.by))[0] || null;
}

/** `["到场 · 还剩 12 分钟", "soon"]`: late, soon (less than a quarter of an hour) or calm. */
export function due(one) {
  if (!one) return ['', 'calm'];
  const rest = left(one.by);
  const words = t(rest < 0 ? 'missed' : 'due', { span: span(rest) });
  return [`${t(one.step)} ${words}`, rest < 0 ? 'late' : rest < 15 * 60e3 ? 'soon' : 'calm'];
}

/** What somebody still has to go to; the rest of the unclosed is gone by itself, or repaired and watched. */
export const unrepaired = ticket => !ticket.cleared_at && ticket.state !== 'resolved';

/** What holds comes first, then the level, then what is due next. */
export function urgency(a, b) {
  return !!a.cleared_at - !!b.cleared_at || (a.state === 'resolved') - (b.state === 'resolved') || a.level - b.level
    || Date.parse(nextDeadline(a)?.by || '9999-01-01') - Date.parse(nextDeadline(b)?.by || '9999-01-01')
    || Date.parse(a.opened_at) - Date.parse(b.opened_at);
}

/** Nothing has happened there since the start, which is no trouble. */
const isQuiet = point => point.momentary && point.reason === 'not-yet';
export const qualityOf = point => (isQuiet(point) ? 'quiet' : point.quality);

/** What stands beside a value: quality, why, what the device said, and of when it is. */
export function beside(point) {
  if (isQuiet(point)) return said('not-yet');
  const parts = [];
  if (point.quality !== 'good') parts.push(t(point.quality));
  if (point.reason) parts.push(said(point.reason));
  if (point.raw !== undefined) parts.push(`${t('said')} ${value(point.raw)}`);
  if (point.value === null && point.last_good_at) parts.push(`${t('last-good')} ${value(point.last_good, point.unit)}, ${age(point.last_good_at)}`);
  return parts.join(' · ');
}

/** A cron line as people say it (`每天 09:00`), or null where that is not simple. */
export function calendar(cron) {
  const [, minute, hour, day, month, weekday] = /^(\d{1,2}) (\d{1,2}) (\*|\d{1,2}) (\*|\d{1,2}) (\*|[0-7]|1-5)$/.exec(cron.trim().replace(/\s+/g, ' ')) || [];
  if (!minute) return null;
  const time = `${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`;
  // The 22nd of November 2026 is a Sunday.
  const name = (what, months, days) => new Intl.DateTimeFormat(locale(), { [what]: 'long', timeZone: 'UTC' }).format(new Date(Date.UTC(2026, months, days)));
  switch ([day, month, weekday].map(field => (field === '*' ? '-' : 'x')).join('')) {
    case '---': return t('each-day', { time });
    case '--x': return weekday === '1-5' ? t('each-workday', { time }) : t('each-week', { weekday: name('weekday', 10, 22 + Number(weekday)), time });
    case 'x--': return t('each-month', { day, time });
    case 'xx-': return t('each-year', { day, month: name('month', Number(month) - 1, 1), time });
    default: return null;
  }
}

/** The condition of a rule as people write it: text, or a node. */
export function limit(condition, unit) {
  if (!condition || typeof condition !== 'object') return '';
  const [[name, of]] = Object.entries(condition).length ? Object.entries(condition) : [['', null]];
  const one = what => value(what, typeof what === 'number' ? unit : null);
  switch (name) {
    case 'above': return `> ${one(of)}`;
    case 'below': return `< ${one(of)}`;
    case 'equals': return `= ${one(of)}`;
    case 'not_equals': return `≠ ${one(of)}`;
    case 'outside': return `∉ [${value(of[0])}, ${one(of[1])}]`;
    case 'inside': return `∈ [${value(of[0])}, ${one(of[1])}]`;
    case 'when': return String(of);
    case 'schedule': return calendar(String(of)) ?? el('code', {}, String(of));
    default: return name ? `${name} ${typeof of === 'object' ? Object.entries(of).map(([k, v]) => `${k} ${v}`).join(', ') : of}` : '';
  }
}
