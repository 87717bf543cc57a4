// One ticket: what is wrong, until when, what was done; its whole story; what can be done now.

import { get, post } from '../api.js';
import { el, mark, rows, text } from '../dom.js';
import * as person from '../person.js';
import { sentence, tone } from '../sentences.js';
import { deadlines, due, heading, level, limit, section, time } from '../show.js';
import { ticketNow } from '../site.js';
import { add, fully, moment, said, span, stamp, t, value } from '../words.js';

add({
  zh: {
    'ticket': '工单', facts: '情况', story: '经过', chart: '曲线', evidence: '越限前后的读数', actions: '处理', 'ticket-note': '备注（可不填）', 'value-limit': '读数 / 界限', since: '最近越限', 'opened-at': '开单', 'cleared-at': '恢复', 'resolved-at': '修复', 'closed-at': '关闭',
    class: '类别', trade: '工种', rule: '规则', device: '设备', point: '测点', external: '中心编号', occurrences: '发生次数', revision: '第 {n} 版', 'chart-of': '越限前后 {point} 的曲线', 'no-chart': '暂无曲线', zoomable: '放大查看', 'no-story': '日志中已没有这张工单的记录', 'close-later': '告警仍在，恢复后才能关闭', 'closed-now': '工单已关闭', time: '时间', reading: '读数', 'n-readings': '{n} 个读数', place: '位置',
  },
  en: {
    'ticket': 'Ticket', facts: 'What is wrong', story: 'Story', chart: 'Chart', evidence: 'Readings around the breach', actions: 'What to do', 'ticket-note': 'Note (may be empty)', 'value-limit': 'Value / limit', since: 'Beyond since', 'opened-at': 'Opened', 'cleared-at': 'Back to normal', 'resolved-at': 'Resolved', 'closed-at': 'Closed',
    class: 'Class', trade: 'Trade', rule: 'Rule', device: 'Device', point: 'Point', external: 'Number at the centre', occurrences: 'Occurrences', revision: 'revision {n}', 'chart-of': '{point} around the breach', 'no-chart': 'There is no chart of it', zoomable: 'Look closer', 'no-story': 'The journal no longer keeps this ticket’s events', 'close-later': 'It is still wrong; it can be closed once it is back to normal', 'closed-now': 'The ticket is closed', time: 'Time', reading: 'Reading', 'n-readings': '{n} readings', place: 'Place',
  },
});

const VERBS = { open: ['acknowledge', 'start', 'resolve'], acknowledged: ['start', 'resolve'], in_progress: ['resolve'], resolved: [], closed: [] };
const HOUR = 3600e3;

export async function show(root, args, site) {
  const path = 'tickets/' + encodeURIComponent(args.id);
  let ticket = site.tickets.get(args.id) || await get(path);
  const story = [];
  const parts = [head(), facts(), actions(), chart(), history(), evidence()];
  root.append(el('a', { class: 'back', href: '#/tickets' }, '‹ ' + t('tickets')),
    parts[0].node, el('div', { class: 'columns' },
      el('div', { class: 'side' }, parts[1].node, parts[2].node), el('div', { class: 'main' }, parts[3].node, parts[4].node, parts[5].node)));

  function draw() { for (const part of parts) part.tell(ticket); }
  function take(other) { if (other.revision >= ticket.revision) { ticket = other; draw(); } }

  // What others may have done since it was last heard of, and all that came before.
  function read() {
    get(path).then(take, error => parts[2].say(error.message));
    get(path + '/events').then(({ events }) => { story.splice(0, story.length, ...events); parts[4].tell(ticket); },
      error => parts[4].say(error.message));
  }

  // ---- at the top ----

  function head() {
    const title = heading(''), badge = el('span', { class: 'chip' }), holds = el('span', { class: 'small' });
    const number = el('span', { class: 'small' });
    const node = el('header', { data: { ticket: ticket.id } }, el('div', { class: 'heads' }, level(ticket.level), badge, holds, number), title);
    return {
      node,
      tell(now) {
        text(title, now.title);
        text(badge, t(now.state));
        mark(badge, 'data-state', now.state);
        mark(node, 'data-state', now.state);
        text(holds, t(now.cleared_at ? 'cleared' : 'holds'));
        mark(holds, 'data-tone', now.cleared_at ? 'well' : 'bad');
        text(number, [now.number, t('revision', { n: now.revision })].join(' · '));
      },
    };
  }

  // ---- the facts ----

  const rest = one => due(one)[0].slice(t(one.step).length).trim();

  /** How a step that has been taken stands to its deadline, as far as the story says when. */
  function kept(one) {
    const begun = story.findLastIndex(event => /\.(opened|reopened)$/.test(event.type));
    const states = one.step === 'contact' ? ['open'] : ['open', 'acknowledged'];
    const done = one.step === 'follow_up' ? null : story.slice(Math.max(0, begun)).find(event => !states.includes(event.data.state));
    if (!done) return ['✓', 'calm'];
    const late = Date.parse(done.time) - Date.parse(one.by);
    return [`✓ ${moment(done.time)} ${late > 0 ? t('too-late', { span: span(late) }) : t('on-time')}`, late > 0 ? 'late' : 'calm'];
  }

  function facts() {
    const list = el('dl', { class: 'facts' });
    const node = section('ticket-facts', t('facts'), list);
    const fact = (name, ...shown) => [el('dt', {}, t(name)), el('dd', {}, ...shown)];
    const at = (name, when) => (when ? fact(name, time(when)) : []);
    const link = (view, id, words) => el('a', { href: `#/${view}/${encodeURIComponent(id)}` }, words || id);
    return {
      node,
      tell(now) {
        const deadline = deadlines(now).flatMap(one => {
          const [words, pace] = one.pending ? [rest(one), due(one)[1]] : kept(one);
          return [el('dt', {}, t(one.step)), el('dd', { data: { tone: pace, deadline: one.step } }, words, ' · ', t('until'), ' ', el('time', { datetime: one.by, title: fully(one.by) }, stamp(one.by)))];
        });
        list.replaceChildren(
          ...fact('value-limit', el('b', { class: 'val' }, value(now.value, now.unit)), ' / ', limit(now.limit, now.unit)),
          ...deadline,
          ...(now.device ? fact('device', link('device', now.device)) : []),
          ...(now.point ? fact('point', link('device', now.device || now.point.split('.')[0] + '', now.point)) : []),
          ...(now.place ? fact('place', now.place) : []),
          ...at('since', now.since), ...at('opened-at', now.opened_at), ...at('cleared-at', now.cleared_at),
          ...at('resolved-at', now.resolved_at), ...at('closed-at', now.closed_at),
          ...fact('class', t(now.class)), ...(now.trade ? fact('trade', said(now.trade)) : []),
          ...fact('rule', now.rule), ...fact('occurrences', String(now.occurrences)),
          ...(now.external_id ? fact('external', now.external_id) : []));
      },
    };
  }

  // ---- what can be done ----

  function actions() {
    const who = person.field('by');
    const note = el('textarea', { id: 'note', maxlength: 4000, rows: 2, data: { field: 'note' } });
    const buttons = el('div', { class: 'acts' });
    const told = el('p', { class: 'wrong', role: 'alert', data: { hook: 'refusal' } });
    const hint = el('p', { class: 'small' });
    const form = el('form', { class: 'needs-actor' }, who.node,
      el('div', { class: 'field' }, el('label', { for: 'note' }, t('ticket-note')), note), buttons, hint, told);
    form.addEventListener('submit', event => event.preventDefault());
    const node = section('ticket-actions', t('actions'), form);
    node.classList.add('needs-actor');

    async function act(verb, button) {
      const by = who.value();
      if (!by) return;
      button.disabled = true;
      text(told, '');
      try {
        const now = await post(`${path}/${verb}`, { by, note: note.value.trim() || undefined, revision: ticket.revision });
        note.value = '';
        ticketNow(now);
        take(now);
        // The button that was pressed may be gone; what can be done next is where one stands.
        (buttons.querySelector('button') || root.querySelector('h1')).focus({ preventScroll: true });
      } catch (error) {
        text(told, error.message);
        read();
      } finally { button.disabled = false; }
    }

    const make = verb => {
      const button = el('button', { type: 'button', data: { action: verb } }, t(verb));
      button.addEventListener('click', () => act(verb, button));
      return button;
    };
    return {
      node,
      say: words => text(told, words),
      tell(now) {
        const verbs = [...VERBS[now.state], ...(now.state !== 'closed' && now.cleared_at ? ['close'] : [])];
        rows(buttons, verbs, verb => verb, make, (button, verb) => { button.className = verb === verbs[0] ? 'first' : ''; });
        form.hidden = false;
        buttons.hidden = !verbs.length;
        who.node.hidden = note.parentNode.hidden = !verbs.length;
        text(hint, now.state === 'closed' ? t('closed-now') : now.cleared_at ? '' : t('close-later'));
      },
    };
  }

  // ---- the chart ----

  function chart() {
    const picture = el('img', { alt: '', width: 800, height: 320, data: { hook: 'chart' } });
    const none = el('p', { class: 'empty' }, t('no-chart'));
    const plot = el('div', { class: 'plot' });
    const closer = el('button', { type: 'button', data: { action: 'zoom' }, on: { click: () => zoom() } }, t('zoomable'));
    const node = section('ticket-chart', t('chart'), el('div', { class: 'chart' }, picture, plot), none, el('div', { class: 'acts' }, closer));
    let drawn = null;
    none.hidden = true;
    picture.addEventListener('error', () => { picture.hidden = true; none.hidden = !!plot.firstChild; });
    picture.addEventListener('load', () => { picture.hidden = !!plot.firstChild; none.hidden = true; });

    async function zoom() {
      try {
        const module = await import('../chart.js');
        const from = Date.parse(ticket.since) - HOUR, to = Math.min(Date.now(), Date.parse(ticket.cleared_at || new Date().toISOString()) + HOUR);
        await module.around(plot, { point: ticket.point, from, to, tickets: [ticket] });
        picture.hidden = true;
        closer.hidden = true;
      } catch (error) { text(none, error.message); none.hidden = false; }
    }
    return {
      node,
      tell(now) {
        node.hidden = !now.point;
        if (!now.point || drawn === now.revision) return;
        drawn = now.revision;
        picture.alt = t('chart-of', { point: now.point });
        picture.src = `/api/v1/${path}/chart.svg?revision=${now.revision}`;
      },
    };
  }

  // ---- the story ----

  function history() {
    const list = el('ol', { class: 'story', data: { hook: 'story' } });
    const none = el('p', { class: 'empty' });
    const node = section('ticket-story', t('story'), list, none);
    return {
      node,
      say: words => text(none, words),
      tell() {
        rows(list, story, event => event.id, makeStep);
        if (!story.length) text(none, t('no-story')); else none.remove();
      },
    };
  }

  function makeStep(event) {
    const data = event.data;
    const words = sentence({ ...event, data: { ...data, title: '' } }).replace(/[:：]\s*$/, '');
    const before = story[story.indexOf(event) - 1]?.data || {};
    const fresh = (field, words) => (data[field] !== null && data[field] !== undefined && data[field] !== before[field] ? words() : null);
    const extra = [fresh('state', () => t(data.state)), fresh('value', () => value(data.value, data.unit)), fresh('external_id', () => data.external_id), t('revision', { n: data.revision })];
    return el('li', { data: { tone: tone(event), type: event.type } }, el('div', {}, el('strong', {}, words)),
      el('div', { class: 'small' }, el('time', { datetime: event.time, title: fully(event.time) }, moment(event.time)), ' · ', extra.filter(Boolean).join(' · ')),
      fresh('note', () => el('p', { class: 'note' }, data.note)));
  }

  // ---- the evidence ----

  function evidence() {
    const body = el('tbody', {});
    const table = el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, t('time')), el('th', { scope: 'col' }, t('reading')))), body);
    const node = section('ticket-evidence', t('evidence'), el('details', {}, el('summary', {}, ''), el('div', { class: 'scroll' }, table)));
    return {
      node,
      tell(now) {
        const pairs = now.evidence || [];
        node.hidden = !pairs.length;
        text(node.querySelector('summary'), t('n-readings', { n: pairs.length }));
        rows(body, pairs.slice().reverse(), pair => pair[0], ([at, what]) =>
          el('tr', {}, el('td', {}, time(at)), el('td', {}, what === null ? t('bad') : value(what, now.unit))));
      },
    };
  }

  draw();
  read();
  return {
    live(change) {
      if (change.kind === 'all') read();
      if (change.kind !== 'ticket' || change.ticket.id !== ticket.id) return;
      if (change.event && !story.some(event => event.id === change.event.id)) story.push(change.event);
      take(change.ticket);
    },
    tick() { parts[1].tell(ticket); },
    end() {},
  };
}
