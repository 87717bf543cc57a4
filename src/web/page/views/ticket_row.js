// A ticket as a row of a list: level, state, what is due next, its title.

import { el, mark, text } from '../dom.js';
import { due, level, nextDeadline, state } from '../show.js';
import { age, t } from '../words.js';

export function makeTicket(ticket) {
  const title = el('span', { class: 'title' }), small = el('span', { class: 'small' });
  const badge = state(ticket.state), rest = el('span', { class: 'due' });
  const link = el('a', { class: 'row ticket', href: '#/ticket/' + encodeURIComponent(ticket.id), data: { ticket: ticket.id } },
    el('span', { class: 'heads' }, level(ticket.level), badge, rest), title, small);
  return Object.assign(el('li', {}, link), { parts: { link, title, small, badge, rest } });
}

export function tellTicket(node, ticket) {
  const { link, title, badge } = node.parts;
  node.ticket = ticket;
  mark(link, 'data-level', ticket.level);
  mark(link, 'data-state', ticket.state);
  mark(link, 'data-holds', String(!ticket.cleared_at));
  text(title, ticket.title);
  text(badge, t(ticket.state));
  mark(badge, 'data-state', ticket.state);
  tellDue(node, ticket);
}

export function tellDue({ parts: { rest, small } }, ticket) {
  const [words, tone] = due(nextDeadline(ticket));
  text(rest, words);
  mark(rest, 'data-tone', tone);
  const again = ticket.occurrences > 1 ? `${ticket.occurrences}×` : null;
  text(small, [ticket.number, t(ticket.cleared_at ? 'cleared' : 'holds'), again, age(ticket.opened_at)].filter(Boolean).join(' · '));
}
