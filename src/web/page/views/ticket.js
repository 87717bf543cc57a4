// One ticket: what is wrong, until when, what was done; its whole story; what can be done now.

import { get, post } from '../api.js';
import { el, mark, rows, text, UNMEANT_MS } from '../dom.js';
import * as person from '../person.js';
import { beside, deadlines, due, heading, level, limit, qualityOf, section, time } from '../show.js';
import { ticketNow } from '../site.js';
import { add, age, brief, fully, said, t, value } from '../words.js';
import { chart } from './ticket_chart.js';
import { Story } from './ticket_story.js';

add({
  zh: {
    facts: '情况', evidence: '越限前后的读数', actions: '处理', 'ticket-note': '备注（可不填）', 'value-limit': '读数 / 界限', now: '现在', since: '最近越限', 'opened-at': '开单', 'cleared-at': '恢复', 'resolved-at': '处理完成', 'closed-at': '关闭',
    class: '类别', trade: '工种', rule: '规则', external: '中心编号', occurrences: '发生次数', 'close-later': '告警仍在，恢复后才能关闭', 'closed-now': '工单已关闭', 'no-ticket': '找不到工单', 'no-ticket-why': '网关上没有工单 {id}：链接可能有误，或这张工单已过保存期。', 'was-done': '{by}已先处理，您的操作和备注没有记入工单', somebody: '其他人', time: '时间', reading: '读数', 'n-readings': '{n} 个读数',
  },
  en: {
    facts: 'What is wrong', evidence: 'Readings around the breach', actions: 'What to do', 'ticket-note': 'Note (may be empty)', 'value-limit': 'Value / limit', now: 'Now', since: 'Beyond since', 'opened-at': 'Opened', 'cleared-at': 'Back to normal', 'resolved-at': 'Resolved', 'closed-at': 'Closed',
    class: 'Class', trade: 'Trade', rule: 'Rule', external: 'Number at the centre', occurrences: 'Occurrences', 'close-later': 'It is still wrong; it can be closed once it is back to normal', 'closed-now': 'The ticket is closed', 'no-ticket': 'No such ticket', 'no-ticket-why': 'The gateway has no ticket {id}: the link may be wrong, or the ticket is no longer kept.', 'was-done': '{by} was quicker: what you did, and your note, are not in the ticket', somebody: 'Somebody', time: 'Time', reading: 'Reading', 'n-readings': '{n} readings',
  },
});

// What a phone shows on demand.
const LATER = new Set(['since', 'cleared-at', 'resolved-at', 'closed-at', 'class', 'trade', 'rule', 'occurrences', 'external']);
const WIDE = matchMedia('(min-width: 60rem)');
const VERBS = { open: ['acknowledge', 'start', 'resolve'], acknowledged: ['start', 'resolve'], in_progress: ['resolve'], resolved: [], closed: [] };

export async function show(root, args, site) {
  const path = 'tickets/' + encodeURIComponent(args.id);
  let ticket = site.tickets.get(args.id) || await known(path);
  if (!ticket) return missing(root, args.id);
  const story = new Story();
  if (ticket.point) site.watch([ticket.point]);
  const picture = chart(path), top = head(ticket), what = facts(story, site), pairs = evidence();
  const todo = actions(path, { ticket: () => ticket, take, read });
  const parts = [top, what, todo, picture, pairs];
  root.append(el('a', { class: 'back', href: '#/tickets' }, '‹ ' + t('tickets')), top.node,
    el('div', { class: 'columns' },
      el('div', { class: 'side' }, what.node, todo.node),
      el('div', { class: 'main' }, picture.node, story.node, pairs.node)));

  function take(other) {
    if (other.revision < ticket.revision) return;
    ticket = other;
    draw();
  }
  function draw() { for (const part of parts) part.tell(ticket); }

  /** What others may have done since it was last heard of, and all that came before. */
  function read() {
    Promise.all([get(path), get(path + '/events')]).then(([now, { events }]) => { story.tell(events); take(now); what.tell(ticket); }, error => story.say(error.message));
  }

  draw();
  read();
  return {
    live(change) {
      if (change.kind === 'all') read();
      if (change.kind === 'points') what.tell(ticket);
      if (change.kind !== 'ticket' || change.ticket.id !== ticket.id) return;
      if (change.event) story.add(change.event);
      take(change.ticket);
    },
    tick() { what.tell(ticket); },
    end() { picture.end(); site.watch([]); },
  };
}

/** Null of one that is not there. */
async function known(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error.status !== 404) throw error;
    return null;
  }
}

function missing(root, id) {
  root.append(el('a', { class: 'back', href: '#/tickets' }, '‹ ' + t('tickets')), heading(t('no-ticket')), el('p', { class: 'empty', role: 'alert' }, t('no-ticket-why', { id })));
  return { live() {}, end() {} };
}

function head(ticket) {
  const title = heading(''), badge = el('span', { class: 'chip' }), holds = el('span', { class: 'small' }), number = el('span', { class: 'small' });
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

function facts(story, site) {
  const list = el('dl', { class: 'facts' }), rest = el('dl', { class: 'facts' });
  const more = el('details', { open: WIDE.matches }, el('summary', {}, t('details')), rest);
  const node = section('ticket-facts', t('facts'), list, more);
  const lines = all => all.flatMap(([name, hook, tone, ...what]) => [el('dt', {}, t(name)), el('dd', { data: { fact: hook, tone } }, ...what)]);
  let shown = null;
  return {
    node,
    tell(now) {
      const all = factsOf(now, story, site);
      // A link that has the focus is not made anew each second.
      const words = JSON.stringify(all.map(([name, , tone, ...what]) => [name, tone, what.map(one => one.textContent ?? one)]));
      if (words === shown) return;
      shown = words;
      const first = all.filter(([name]) => !LATER.has(name));
      list.replaceChildren(...lines(first));
      rest.replaceChildren(...lines(all.filter(one => !first.includes(one))));
    },
  };
}

function factsOf(now, story, site) {
  const bound = limit(now.limit, now.unit);
  // A schedule has a time, and no reading.
  const all = now.limit?.schedule ? [['schedule', 'schedule', null, bound]]
    : [['value-limit', 'value', null, el('b', { class: 'val' }, value(now.value, now.unit)), ' / ', bound]];
  const fact = (name, what) => { if (what) all.push([name, name, null, what]); };
  const point = site.points.get(now.point);
  if (point) all.push(['now', 'now', null, el('b', { class: 'val', data: { point: point.id, quality: qualityOf(point) } }, value(point.value, point.unit)), ' ', el('span', { class: 'small' }, beside(point) || age(point.at))]);
  for (const one of deadlines(now)) {
    const [words, tone] = one.pending ? due(one) : story.taken(one);
    const left = one.pending ? words.slice(t(one.step).length).trim() : words;
    all.push([one.step, one.step, tone, left, ' · ', t('until'), ' ', el('time', { datetime: one.by, title: fully(one.by) }, brief(one.by))]);
  }
  const device = query => el('a', { href: `#/device/${encodeURIComponent(now.device)}${query}` }, query ? now.point : now.device);
  fact('device', now.device && device(''));
  fact('point', now.point && (now.device ? device('?point=' + encodeURIComponent(now.point)) : now.point));
  fact('place', now.place);
  for (const name of ['since', 'opened_at', 'cleared_at', 'resolved_at', 'closed_at']) fact(name.replace('_', '-'), now[name] && time(now[name]));
  fact('class', t(now.class));
  fact('trade', now.trade && said(now.trade));
  fact('rule', now.rule);
  fact('occurrences', String(now.occurrences));
  fact('external', now.external_id);
  return all;
}

// ---- what can be done ----

function actions(path, { ticket, take, read }) {
  const who = person.field('by');
  const note = el('textarea', { id: 'note', maxlength: 4000, rows: 2, data: { field: 'note' } });
  const buttons = el('div', { class: 'acts' });
  const told = el('p', { class: 'wrong', role: 'alert', data: { hook: 'refusal' } });
  const hint = el('p', { class: 'small' });
  const fields = el('div', {}, who.node, el('div', { class: 'field' }, el('label', { for: 'note' }, t('ticket-note')), note), buttons);
  const node = section('ticket-actions', t('actions'), fields, hint, told);
  node.classList.add('needs-actor');
  const head = node.querySelector('h2');
  head.tabIndex = -1;
  let offered = null, changed = -Infinity;

  async function act(verb, button) {
    const by = who.value();
    if (!by) return;
    button.disabled = true;
    text(told, '');
    try {
      const now = await post(`${path}/${verb}`, { by, note: note.value.trim() || undefined, revision: ticket().revision });
      ticketNow(now);
      take(now);
      // Who asks for what is done already is not refused, and not told of either.
      if (now.by === by) note.value = '';
      else text(told, t('was-done', { by: now.by ? said(now.by) : t('somebody') }));
      // The button that was pressed may be gone. Not the next one: whoever holds the key down would press that as well.
      head.focus({ preventScroll: true });
    } catch (error) {
      text(told, error.message);
      // Who does not answer has no news, either.
      if (error.status) read();
    }
    button.disabled = false;
  }

  const make = verb => {
    const button = el('button', { type: 'button', data: { action: verb } }, t(verb));
    // A double click, or somebody else was quicker.
    button.addEventListener('click', () => { if (performance.now() - changed > UNMEANT_MS) act(verb, button); });
    return button;
  };
  return {
    node,
    tell(now) {
      const verbs = [...VERBS[now.state], ...(now.state !== 'closed' && now.cleared_at ? ['close'] : [])];
      if (offered !== null && offered !== verbs.join()) changed = performance.now();
      offered = verbs.join();
      rows(buttons, verbs, verb => verb, make, (button, verb) => { button.className = verb === verbs[0] ? 'first' : ''; });
      fields.hidden = !verbs.length;
      text(hint, now.state === 'closed' ? t('closed-now') : now.cleared_at ? '' : t('close-later'));
    },
  };
}

// ---- the evidence ----

function evidence() {
  const body = el('tbody', {}), summary = el('summary', {});
  const table = el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, t('time')), el('th', { scope: 'col' }, t('reading')))), body);
  const node = section('ticket-evidence', t('evidence'), el('details', {}, summary, el('div', { class: 'scroll' }, table)));
  return {
    node,
    tell(now) {
      const pairs = now.evidence || [];
      node.hidden = !pairs.length;
      text(summary, t('n-readings', { n: pairs.length }));
      rows(body, pairs.slice().reverse(), pair => pair[0], ([at, what]) =>
        el('tr', {}, el('td', {}, time(at)), el('td', {}, what === null ? t('bad') : value(what, now.unit))));
    },
  };
}
