// The story of a ticket: each event with who, when, the note, and what it changed; and when each step was taken.

import { el, rows, text } from '../dom.js';
import { sentence, tone } from '../sentences.js';
import { section } from '../show.js';
import { add, fully, moment, span, t, value, when } from '../words.js';

add({
  zh: { story: '经过', revision: '第 {n} 版', 'no-story': '日志中已没有这张工单的记录' },
  en: { story: 'Story', revision: 'revision {n}', 'no-story': 'The journal no longer keeps this ticket’s events' },
});

export class Story {
  constructor() {
    this.events = [];
    this.list = el('ol', { class: 'story', data: { hook: 'story' } });
    this.none = el('p', { class: 'empty' });
    this.node = section('ticket-story', t('story'), this.list, this.none);
  }

  /** All of them, oldest first. */
  tell(events) {
    this.events = events;
    this.draw();
  }

  add(event) {
    if (this.events.some(one => one.id === event.id)) return;
    this.events.push(event);
    this.draw();
  }

  say(words) { text(this.none, words); }

  draw() {
    rows(this.list, this.events, event => event.id, event => step(event, this.events[this.events.indexOf(event) - 1]));
    text(this.none, this.events.length ? '' : t('no-story'));
  }

  /** When the step of a deadline was taken, and whether in time: `["✓ 19:16 按时", "calm"]`. */
  taken({ step, by }) {
    // Reopening sets new deadlines.
    const begun = this.events.findLastIndex(event => /\.(opened|reopened)$/.test(event.type));
    const before = step === 'contact' ? ['open'] : ['open', 'acknowledged'];
    const done = step === 'follow_up' ? null : this.events.slice(Math.max(0, begun)).find(event => event.data && !before.includes(event.data.state));
    if (!done) return ['✓', 'calm'];
    const late = Date.parse(done.time) - Date.parse(by);
    return [`✓ ${when(done.time)} ${late > 0 ? t('too-late', { span: span(late) }) : t('on-time')}`, late > 0 ? 'late' : 'calm'];
  }
}

function step(event, before) {
  const data = event.data || {}, known = (before && before.data) || {};
  // A ticket carries all of itself along: told is what this event changed.
  const fresh = (field, show) => (data[field] !== null && data[field] !== undefined && data[field] !== known[field] ? show() : null);
  const extra = [fresh('state', () => t(data.state)), fresh('value', () => value(data.value, data.unit)),
    fresh('external_id', () => data.external_id), fresh('revision', () => t('revision', { n: data.revision }))];
  const words = sentence(event.data === null ? event : { ...event, data: { ...data, title: '' } }).replace(/[:：]\s*$/, '');
  return el('li', { data: { tone: tone(event), type: event.type } },
    el('strong', {}, words),
    el('div', { class: 'small' }, el('time', { datetime: event.time, title: fully(event.time) }, moment(event.time)), ' · ', extra.filter(Boolean).join(' · ')),
    fresh('note', () => el('p', { class: 'note' }, data.note)));
}
