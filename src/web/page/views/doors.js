// Doors and lockers: how they stand, what happened last, and a cell opened on order.

import { get } from '../api.js';
import { calmly, el, mark, rows, text } from '../dom.js';
import { actionWord, mayOrder, order } from '../order.js';
import { kindOf, sentence, tone } from '../sentences.js';
import { heading, section, time } from '../show.js';
import { add, age, fully, said, t, when } from '../words.js';

add({
  zh: { 'door.doors': '门', 'door.banks': '快递柜', 'door.none': '没有配置门和快递柜', 'door.events': '最近的门禁和柜格事件', 'door.no-events': '还没有事件', 'door.all-events': '全部事件',
    'door.unknown': '未知', 'door.nothing': '启动以来没有动作', 'door.items': '{n} 有物', 'door.counts': '{open} 开 · {closed} 关', 'door.unread': '{n} 未知', 'door.open-cell': '打开 {device} {cell} 号格' },
  en: { 'door.doors': 'Doors', 'door.banks': 'Lockers', 'door.none': 'There are no doors or lockers', 'door.events': 'Last at doors and lockers', 'door.no-events': 'Nothing yet', 'door.all-events': 'All events',
    'door.unknown': 'unknown', 'door.nothing': 'nothing since the start', 'door.items': '{n} with items', 'door.counts': '{open} open · {closed} closed', 'door.unread': '{n} unknown', 'door.open-cell': 'Open {device} cell {cell}' },
});

const EVENTS_SHOWN = 30;
const AGAIN_MS = 700;
// What a state looks like besides its colour.
const SIGNS = { open: '◱', closed: '▣', unknown: '?' };
const ITEMS = { present: '●', absent: '○' };
const LOUD = new Set(['forced', 'held', 'tamper', 'denied', 'unexpected', 'jammed', 'overdue']);

export async function show(root, args, site) {
  const doors = el('ul', { class: 'doors', data: { hook: 'doors' } });
  const banks = el('div', { class: 'banks', data: { hook: 'banks' } });
  const events = el('ol', { class: 'door-events', data: { hook: 'door-events' } });
  const none = el('p', { class: 'empty', hidden: true }, t('door.none'));
  const quiet = el('p', { class: 'empty' }, t('door.no-events'));
  const wrong = el('p', { class: 'wrong', role: 'alert' });
  const parts = {
    doors: section('door-doors', t('door.doors'), doors), banks: section('door-banks', t('door.banks'), banks),
    events: section('door-events', t('door.events'), events, quiet, el('a', { class: 'more', href: '#/events' }, t('door.all-events'))),
  };
  root.append(heading(t('doors')), wrong, none, parts.banks, parts.doors, parts.events);
  let ended = false;

  async function read() {
    try {
      const answer = await get('doors');
      if (ended) return;
      text(wrong, '');
      draw(answer);
    } catch (error) {
      if (!ended) text(wrong, error.message);
    }
  }
  function draw(answer) {
    rows(doors, answer.doors, door => door.id, makeDoor, tellDoor);
    rows(banks, answer.banks, bank => bank.device, makeBank, (node, bank) => tellBank(node, bank, mayOrder(site)));
    parts.doors.hidden = !answer.doors.length;
    parts.banks.hidden = !answer.banks.length;
    none.hidden = answer.doors.length + answer.banks.length > 0;
    // Cells move without an event where nobody ordered it to be one.
    site.watch(answer.banks.map(bank => `${bank.device}.*`));
  }
  function drawEvents() {
    const shown = site.events.filter(event => ['access', 'locker', 'command'].includes(kindOf(event))).slice(0, EVENTS_SHOWN);
    rows(events, shown, event => event.id, makeEvent);
    quiet.hidden = shown.length > 0;
  }
  const soon = calmly(read, AGAIN_MS);
  const eventsSoon = calmly(drawEvents, 200);
  drawEvents();
  read();
  return {
    live(change) {
      if (change.kind === 'all' || change.kind === 'points') soon();
      if (change.kind === 'all' || change.kind === 'journal') eventsSoon();
      if (change.kind === 'journal' && ['access', 'locker'].includes(kindOf(change.event))) soon();
    },
    tick() { for (const node of events.children) text(node.age, age(node.at)); },
    end() { ended = true; soon.stop(); eventsSoon.stop(); site.watch([]); },
  };
}

function makeDoor() {
  const name = el('span', { class: 'id' }), place = el('span', { class: 'small' }), chip = el('span', { class: 'chip door-chip' }), last = el('span', { class: 'small' });
  return Object.assign(el('li', { class: 'door' }, el('span', { class: 'door-head' }, name, chip), place, last), { name, place, chip, last });
}

function tellDoor(node, door) {
  const contact = door.contact ?? 'unknown';
  mark(node, 'data-door', door.id);
  mark(node, 'data-state', contact);
  text(node.name, door.id);
  text(node.place, door.place);
  text(node.chip, `${SIGNS[contact] || '?'} ${contact === 'unknown' ? t('door.unknown') : said(contact)}`);
  mark(node.chip, 'data-contact', contact);
  text(node.last, door.word ? `${said(door.word)} · ${when(door.at)}` : t('door.nothing'));
  mark(node.last, 'data-loud', LOUD.has(door.word));
  mark(node.last, 'title', door.at ? fully(door.at) : null);
}

function makeBank(bank) {
  const place = el('span', { class: 'small' }), counts = el('span', { class: 'small bank-counts' });
  const cells = el('ul', { class: 'cells', 'aria-label': bank.device });
  const head = el('h3', {}, el('a', { href: `#/device/${encodeURIComponent(bank.device)}` }, bank.device));
  return Object.assign(el('div', { class: 'bank', data: { bank: bank.device } }, el('div', { class: 'bank-head' }, head, place, counts), cells), { place, counts, cells });
}

function tellBank(node, bank, may) {
  const opens = may && (bank.commands || []).includes('open');
  const count = state => bank.cells.filter(cell => (cell.state ?? 'unknown') === state).length;
  const unknown = count('unknown'), items = bank.cells.filter(cell => cell.item === 'present').length;
  text(node.place, bank.place);
  text(node.counts, [t('door.counts', { open: count('open'), closed: count('closed') }), unknown && t('door.unread', { n: unknown }), items && t('door.items', { n: items })].filter(Boolean).join(' · '));
  rows(node.cells, bank.cells, cell => `${cell.cell} ${opens}`, cell => makeCell(bank, cell, opens), tellCell);
}

function makeCell(bank, { cell }, opens) {
  const sign = el('span', { class: 'cell-sign', 'aria-hidden': 'true' }), state = el('span', { class: 'cell-state' }), last = el('span', { class: 'cell-last' });
  const target = `cell-${cell}`;
  const button = opens && el('button', { type: 'button', class: 'cell-order', 'aria-label': t('door.open-cell', { device: bank.device, cell }), data: { action: 'open', target },
    on: { click: () => order({ device: bank.device, action: 'open', target }) } }, actionWord('open'));
  return Object.assign(el('li', { class: 'cell', data: { cell: `${bank.device}.${cell}` } },
    el('span', { class: 'cell-head' }, el('b', {}, String(cell)), sign), state, last, button), { sign, state, last });
}

function tellCell(node, { state, item, word, at }) {
  const now = state ?? 'unknown';
  mark(node, 'data-state', now);
  mark(node, 'data-loud', LOUD.has(word));
  text(node.sign, [SIGNS[now] || '?', ITEMS[item]].filter(Boolean).join(' '));
  text(node.state, [now === 'unknown' ? t('door.unknown') : said(now), item && said(item)].filter(Boolean).join(' · '));
  text(node.last, word ? `${said(word)} ${when(at)}` : '');
  mark(node.last, 'title', at ? fully(at) : null);
}

function makeEvent(event) {
  const ago = el('span', { class: 'small' }, age(event.time));
  const node = el('li', { data: { tone: tone(event), event: event.id } }, time(event.time), el('span', { class: 'door-said' }, sentence(event)), ago);
  return Object.assign(node, { age: ago, at: event.time });
}
