// A device: how it is, what its points say now and said before, its tickets, its raw words on the wire, its orders.

import { get, now } from '../api.js';
import { pointPlot } from '../chart/point.js';
import { limitsOf } from '../chart/rows.js';
import { calmly, el, mark, rows, text } from '../dom.js';
import { maintain } from '../maintain.js';
import { actionWord, mayOrder, order } from '../order.js';
import { beside, heading, qualityOf, section, state, urgency } from '../show.js';
import { add, age, fully, span, t, value } from '../words.js';
import { lookNow } from './look.js';
import { makeTicket, tellDue, tellTicket } from './ticket_row.js';

add({
  zh: { 'dev.none': '没有设备 {id}，可能已从配置中删除', 'dev.since': '已持续 {span}', 'dev.error': '错误', 'dev.profile': '型号', 'dev.line': '线路', 'dev.by-hand': '按点配置', 'dev.points': '测点',
    'dev.tickets': '工单', 'dev.no-tickets': '这台设备没有工单', 'dev.older': '近 31 天已关闭的工单 {n} 张', 'dev.orders': '命令', 'dev.maintenance': '维护', 'dev.find': '查找测点', 'dev.more': '再显示 {n} 个测点', 'dev.line-down': '线路中断' },
  en: { 'dev.none': 'There is no device {id}; it may have left the configuration', 'dev.since': 'for {span}', 'dev.error': 'Error', 'dev.profile': 'Profile', 'dev.line': 'Line', 'dev.by-hand': 'points by hand', 'dev.points': 'Points',
    'dev.tickets': 'Tickets', 'dev.no-tickets': 'No tickets of this device', 'dev.older': '{n} closed tickets of the last 31 days', 'dev.orders': 'Orders', 'dev.maintenance': 'Maintenance', 'dev.find': 'Find a point', 'dev.more': '{n} more points', 'dev.line-down': 'line down' },
});

// More rows than this are shown on demand, and can be searched.
const POINTS_SHOWN = 60;
const FIND_FROM = 16;
const PLOTS_MAX = 4;
const CLOSED_SINCE_MS = 31 * 86400e3;
const CLOSED_MAX = 3000;
const OLD_SHOWN = 50;

export async function show(root, args, site) {
  const view = new Device(root, args, site);
  view.head();
  view.points();
  view.tickets();
  if (view.row) { view.openFirst(); view.more(); }
  return view;
}

class Device {
  constructor(root, { id, query }, site) {
    Object.assign(this, { id, site, rules: [], closed: [], plots: new Map(), shown: POINTS_SHOWN, sought: '', span: query.get('span'), first: query.get('point') });
    this.title = heading(id);
    this.chip = state('unknown');
    this.sinceLine = el('span', { class: 'small' });
    this.placeLine = el('p', { class: 'small' });
    this.wrong = el('p', { class: 'wrong', data: { fact: 'error' } });
    this.facts = el('dl', { class: 'facts' });
    this.list = el('ul', { class: 'points', data: { hook: 'points' } });
    this.moreButton = el('button', { type: 'button', on: { click: () => { this.shown *= 2; this.points(); } } });
    this.open = el('ul', { class: 'list', data: { hook: 'tickets' } });
    this.old = el('ul', { class: 'list' });
    this.oldTitle = el('summary', {});
    this.older = el('details', {}, this.oldTitle, this.old);
    this.noTickets = el('p', { class: 'empty' }, t('dev.no-tickets'));
    const node = el('div', {}, el('div', { class: 'device-head' }, this.title, this.chip, this.sinceLine), this.placeLine, this.wrong);
    root.append(node);
    if (!this.row) { node.append(el('p', { class: 'empty', role: 'alert' }, t('dev.none', { id }))); return; }
    this.tend = maintain(site, this.row);
    node.append(el('div', { class: 'columns' },
      el('div', { class: 'main' }, section('device-points', t('dev.points'), this.finder(), this.list, this.own.length ? null : el('p', { class: 'empty' }, t('none')), this.moreButton), this.look()),
      el('div', { class: 'side' },
        el('section', { class: 'card', 'aria-label': id }, this.facts),
        section('device-tickets', t('dev.tickets'), this.open, this.noTickets, this.older),
        section('device-maintenance', t('dev.maintenance'), this.tend.node),
        this.orders())));
    this.ticketsSoon = calmly(() => this.tickets(), 200);
    site.watch([`${id}.*`]);
  }

  get row() { return this.site.devices.get(this.id); }
  get own() { return [...this.site.points.values()].filter(point => point.device === this.id); }

  /** What is not in memory yet: limits for the plots, and the tickets that are closed. */
  async more() {
    const [rules, closed] = await Promise.allSettled([get('rules'), this.recentlyClosed()]);
    if (rules.status === 'fulfilled') this.rules = rules.value.rules;
    if (closed.status === 'fulfilled') this.closed = closed.value;
    if (this.ended) return;
    this.tickets();
    for (const [point, drawn] of this.plots) drawn.set({ limits: limitsOf(this.rules, point) });
  }

  /** As far back as plots go: ids begin with the time of their opening, and the oldest come first. */
  async recentlyClosed() {
    const all = [];
    const since = (now() - CLOSED_SINCE_MS).toString(16).padStart(12, '0');
    let after = `${since.slice(0, 8)}-${since.slice(8)}`;
    do {
      const part = await get(`tickets?device=${encodeURIComponent(this.id)}&state=closed&limit=1000&after=${encodeURIComponent(after)}`);
      all.push(...part.tickets.filter(ticket => ticket.state === 'closed'));
      after = part.next;
    } while (after && all.length < CLOSED_MAX && !this.ended);
    return all;
  }

  openFirst() {
    const first = this.own.find(point => point.id === this.first) || this.own.find(point => !point.momentary && typeof (point.value ?? point.last_good) === 'number') || this.own.find(point => !point.momentary);
    const node = first && [...this.list.children].find(row => row.point.id === first.id);
    if (node) this.toggle(node);
  }

  head() {
    const { row } = this;
    if (!row) { this.chip.hidden = true; return; }
    mark(this.chip, 'data-state', row.state);
    text(this.chip, t('state-' + row.state));
    this.since();
    const line = this.site.lines.find(line => line.id === row.channel);
    const at = line ? ` (${[line.type, line.at].filter(Boolean).join(' · ')})` : '';
    const down = line && line.state === 'down' ? ` · ${t('dev.line-down')}` : '';
    const facts = [['dev.profile', row.profile || t('dev.by-hand')], ['dev.line', row.channel + at + down]];
    this.facts.replaceChildren(...facts.filter(([, is]) => is).flatMap(([word, is]) => [el('dt', {}, t(word)), el('dd', { data: { fact: word.slice(4) } }, is)]));
    text(this.placeLine, row.place || t('no-place'));
    text(this.wrong, row.error ? `${t('dev.error')}: ${row.error}` : '');
    this.tend.tell(row);
  }

  since() {
    if (!this.row) return;
    text(this.sinceLine, this.row.since ? t('dev.since', { span: span(now() - Date.parse(this.row.since)) }) : '');
    mark(this.sinceLine, 'title', fully(this.row.since) || null);
  }

  finder() {
    if (this.own.length < FIND_FROM) return null;
    const find = el('input', { type: 'search', placeholder: t('dev.find'), 'aria-label': t('dev.find') });
    find.addEventListener('input', () => { this.sought = find.value.trim().toLowerCase(); this.points(); });
    return find;
  }

  points() {
    if (!this.row) return;
    const all = this.own.filter(point => !this.sought || point.id.slice(this.id.length).toLowerCase().includes(this.sought) || this.plots.has(point.id));
    rows(this.list, all.slice(0, this.shown), point => point.id, point => this.makePoint(point), tellPoint);
    const rest = all.length - this.shown;
    this.moreButton.hidden = rest <= 0;
    text(this.moreButton, t('dev.more', { n: Math.max(rest, 0) }));
  }

  makePoint(point) {
    const name = el('span', { class: 'what' }, point.id.slice(this.id.length + 1)), val = el('span', { class: 'val' });
    const chip = el('span', { class: 'chip' }), small = el('span', { class: 'small point-note' }), ago = el('span', { class: 'small point-age' });
    const fold = el('div', { class: 'point-plot', id: `plot-${point.id}`, hidden: true });
    const button = el('button', { type: 'button', class: 'point-row', 'aria-expanded': 'false', 'aria-controls': fold.id, data: { action: 'plot' } }, name, val, chip, ago, small);
    const node = Object.assign(el('li', { class: 'point', data: { point: point.id } }, button, fold), { val, chip, small, ago, fold, button, point });
    button.addEventListener('click', () => this.toggle(node));
    return node;
  }

  toggle(node) {
    const { id, unit } = node.point;
    const drawn = this.plots.get(id);
    if (drawn) {
      drawn.end();
      this.plots.delete(id);
    } else {
      // Each asks again and again: the one that was opened first goes.
      if (this.plots.size >= PLOTS_MAX) this.toggle([...this.list.children].find(row => row.point.id === this.plots.keys().next().value));
      node.fold.hidden = false;
      this.plots.set(id, pointPlot(node.fold, { point: id, unit, limits: limitsOf(this.rules, id), tickets: this.ticketsOf(id), span: this.span }));
    }
    node.fold.hidden = Boolean(drawn);
    node.button.setAttribute('aria-expanded', String(!drawn));
  }

  get unclosed() { return [...this.site.tickets.values()].filter(ticket => ticket.device === this.id); }
  ticketsOf(point) { return [...this.unclosed, ...this.closed].filter(ticket => ticket.point === point); }

  tickets() {
    if (!this.row) return;
    const open = this.unclosed.sort(urgency);
    const closed = this.closed.filter(ticket => !this.site.tickets.has(ticket.id)).sort((a, b) => (a.opened_at < b.opened_at ? 1 : -1));
    rows(this.open, open, ticket => ticket.id, makeTicket, tellTicket);
    rows(this.old, closed.slice(0, OLD_SHOWN), ticket => ticket.id, makeTicket, tellTicket);
    text(this.oldTitle, t('dev.older', { n: closed.length }));
    this.older.hidden = !closed.length;
    this.noTickets.hidden = open.length + closed.length > 0;
    for (const [point, drawn] of this.plots) drawn.set({ marks: this.ticketsOf(point) });
  }

  look() {
    return mayOrder(this.site) ? lookNow(this.id) : null;
  }

  orders() {
    const { commands } = this.row;
    if (!mayOrder(this.site) || !commands || !commands.length) return null;
    return section('device-orders', t('dev.orders'), el('ul', { class: 'acts', data: { hook: 'orders' } }, commands.flatMap(({ action, targets }) =>
      targets.map(target => el('li', {}, el('button', { type: 'button', data: { action, target }, on: { click: () => order({ device: this.id, action, target }) } },
        [actionWord(action), target].filter(Boolean).join(' ')))))));
  }

  live(change) {
    if (!this.row || !this.tend) return;
    if (change.kind === 'device' && change.device.id === this.id) this.head();
    if (change.kind === 'lines' || change.kind === 'all') this.head();
    if (change.kind === 'points' && change.points.some(point => point.device === this.id)) this.points();
    if (change.kind === 'all') { this.points(); this.tickets(); }
    if (change.kind === 'ticket' && change.ticket.device === this.id) {
      if (change.ticket.state === 'closed') this.closed = [change.ticket, ...this.closed.filter(ticket => ticket.id !== change.ticket.id)];
      this.ticketsSoon();
    }
  }

  tick() {
    this.since();
    for (const node of this.list.children) tellAge(node);
    for (const node of this.open.children) tellDue(node, node.ticket);
  }

  end() {
    this.ended = true;
    for (const drawn of this.plots.values()) drawn.end();
    this.ticketsSoon?.stop();
    this.site.watch([]);
  }
}

function tellPoint(node, point) {
  node.point = point;
  const quality = qualityOf(point);
  mark(node, 'data-quality', quality);
  text(node.val, value(point.value, point.unit));
  mark(node.val, 'data-quality', quality);
  text(node.chip, quality === 'quiet' ? '' : t(quality));
  mark(node.chip, 'data-quality', quality);
  text(node.small, quality === 'good' ? '' : details(point));
  tellAge(node);
}

/** Why it is not believed, what the device said, and what was last good. */
function details(point) {
  const text = beside(point);
  return point.quality !== 'good' && text.startsWith(t(point.quality)) ? text.slice(t(point.quality).length).replace(/^ · /, '') : text;
}

function tellAge(node) {
  text(node.ago, node.point.at ? age(node.point.at) : '');
  mark(node.ago, 'title', fully(node.point.at) || null);
}
