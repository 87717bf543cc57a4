// All tickets: by state, level and place; what is unclosed comes from what is known, what is closed is asked for.

import { get } from '../api.js';
import { calmly, el, rows, text } from '../dom.js';
import { heading, unrepaired, urgency } from '../show.js';
import { add, t } from '../words.js';
import { makeTicket, tellDue, tellTicket } from './ticket_row.js';

add({
  zh: { state: '状态', level: '级别', unclosed: '未关闭', unrepaired: '待修复', 'n-tickets': '{n} 张工单', 'no-such': '没有符合条件的工单', 'older': '加载更早的工单' },
  en: { state: 'State', level: 'Level', unclosed: 'unclosed', unrepaired: 'to be repaired', 'n-tickets': '{n} tickets', 'no-such': 'No ticket is like this', 'older': 'Older tickets' },
});

const STATES = ['unclosed', 'unrepaired', 'open', 'acknowledged', 'in_progress', 'resolved', 'closed'];
const CLOSED_AT_ONCE = 200;

export async function show(root, args, site) {
  const chosen = { state: args.query.get('state') || 'unclosed', level: args.query.get('level') || '', place: args.query.get('place') || '' };
  // Those that are closed, newest first as far as they were asked for.
  const closed = new Map();
  let after = '', done = false;

  const told = el('p', { class: 'small', role: 'status', data: { hook: 'count' } });
  const list = el('ul', { class: 'list card', data: { hook: 'tickets' } });
  const older = el('button', { type: 'button', data: { action: 'older' }, on: { click: () => fetchClosed() } }, t('older'));
  const filters = el('form', { class: 'filters', 'aria-label': t('tickets'), on: { submit: event => event.preventDefault() } },
    choice('state', STATES.map(word => [word, t(word)])),
    choice('level', [['', t('all')], ...[1, 2, 3].map(n => [String(n), t('level' + n)])]),
    choice('place', [['', t('all')], ...places().map(place => [place, place || t('no-place')])]));
  root.append(heading(t('tickets')), filters, told, list, older);

  function choice(name, options) {
    const select = el('select', { id: 'filter-' + name, data: { filter: name } },
      ...options.map(([value, words]) => el('option', { value, selected: value === chosen[name] }, words)));
    select.addEventListener('change', () => {
      chosen[name] = select.value;
      const query = new URLSearchParams(Object.entries(chosen).filter(([key, value]) => value && !(key === 'state' && value === 'unclosed')));
      history.replaceState(null, '', '#/tickets' + (String(query) && '?' + query));
      if (chosen.state === 'closed' && !closed.size) fetchClosed();
      draw();
    });
    return el('div', { class: 'field' }, el('label', { for: select.id }, t(name)), select);
  }

  function places() {
    const all = [...site.devices.values()].map(device => (device.place || '').split('/')[0]);
    return [...new Set(all)].sort((a, b) => a.localeCompare(b, 'zh', { numeric: true }));
  }

  async function fetchClosed() {
    older.disabled = true;
    try {
      const part = await get(`tickets?state=closed&limit=${CLOSED_AT_ONCE}${after && '&after=' + encodeURIComponent(after)}`);
      for (const ticket of part.tickets) closed.set(ticket.id, ticket);
      after = part.next || after;
      done = !part.next;
    } catch (error) { text(told, error.message); }
    older.disabled = false;
    draw();
  }

  function matches(ticket) {
    const first = (ticket.place || '').split('/')[0];
    const isOf = { unclosed: ticket.state !== 'closed', unrepaired: unrepaired(ticket) };
    return (isOf[chosen.state] ?? ticket.state === chosen.state)
      && (!chosen.level || String(ticket.level) === chosen.level) && (!chosen.place || first === chosen.place);
  }

  function draw() {
    const from = chosen.state === 'closed' ? closed : site.tickets;
    const shown = [...from.values()].filter(matches);
    shown.sort(chosen.state === 'closed' ? (a, b) => (a.closed_at < b.closed_at ? 1 : -1) : urgency);
    rows(list, shown, ticket => ticket.id, makeTicket, tellTicket);
    list.hidden = !shown.length;
    text(told, shown.length ? t('n-tickets', { n: shown.length }) : t('no-such'));
    older.hidden = chosen.state !== 'closed' || done;
  }

  const soon = calmly(draw, 150);
  if (chosen.state === 'closed') fetchClosed();
  draw();
  return {
    live(change) {
      if (change.kind === 'ticket' && change.ticket.state === 'closed') closed.set(change.ticket.id, change.ticket);
      if (change.kind === 'ticket') closed.get(change.ticket.id)?.state !== 'closed' || change.ticket.state === 'closed' || closed.delete(change.ticket.id);
      if (change.kind === 'ticket' || change.kind === 'all') soon();
    },
    tick() { for (const node of list.children) tellDue(node, node.ticket); },
    end() { soon.stop(); },
  };
}
