// The compound at a glance: what is wrong first, then where everything stands.

import { calmly, el, mark, rows, text } from '../dom.js';
import { heading, section, unrepaired, urgency } from '../show.js';
import { add, number, t } from '../words.js';
import { Finder } from './finder.js';
import { FOLLOWED_MAX, Places } from './places.js';
import { makeTicket, tellDue, tellTicket } from './ticket_row.js';
import { makeConsumer, makeLine, tellConsumer, tellLine } from './wires.js';

add({
  zh: {
    'open-tickets': '未关闭工单', devices: '设备', uplink: '上报中心', 'no-tickets': '没有未关闭的工单', 'all-tickets': '查看全部 {n} 张未关闭工单，其中 {m} 张待修复',
    'devices-away': '台设备异常', 'lines-down': '条线路中断', 'no-uplink': '未配置上报', 'to-tell': '条待上报', troubles: '网关的问题',
  },
  en: {
    'open-tickets': 'Open tickets', devices: 'Devices', uplink: 'Uplink', 'no-tickets': 'No open tickets', 'all-tickets': 'All {n} unclosed tickets, {m} to be repaired',
    'devices-away': 'devices in trouble', 'lines-down': 'lines down', 'no-uplink': 'no uplink configured', 'to-tell': 'to be told', troubles: 'Troubles of the gateway',
  },
});

const TICKETS_SHOWN = 6;
// Seconds.
const AGES_EVERY = 10;

export async function show(root, args, site) {
  const view = new Home(site);
  root.append(view.node);
  view.all();
  return {
    live: change => view.live(change),
    tick: () => view.times(),
    end: () => { view.calm.forEach(call => call.stop()); site.watch([]); },
  };
}

class Home {
  constructor(site) {
    this.site = site;
    this.tiles = el('ul', { class: 'tiles' });
    this.troubles = el('ul', { class: 'troubles', data: { hook: 'troubles' } });
    this.ticks = 0;
    const follow = () => this.follow();
    this.finder = new Finder(site, follow);
    this.places = new Places(site, follow);
    this.tickets = el('ul', { class: 'list', data: { hook: 'tickets' } });
    this.allTickets = el('a', { class: 'more', href: '#/tickets' });
    this.noTickets = el('p', { class: 'empty' }, t('no-tickets'));
    this.lines = el('ul', { class: 'list', data: { hook: 'lines' } });
    this.consumers = el('ul', { class: 'list', data: { hook: 'consumers' } });
    this.head = heading('');
    this.node = el('div', {},
      el('div', { class: 'hello' }, this.head, this.tiles), this.troubles, this.finder.node,
      el('div', { class: 'columns' },
        el('div', { class: 'main' },
          section('home-tickets', t('open-tickets'), this.tickets, this.noTickets, this.allTickets),
          section('home-devices', t('devices'), this.places.node)),
        el('div', { class: 'side' },
          section('home-lines', t('lines'), this.lines),
          section('home-uplink', t('uplink'), this.consumers))));
    this.devicesSoon = calmly(() => { this.places.draw(); this.drawTiles(); this.followSoon(); }, 300);
    // Each time is a stream begun anew.
    this.followSoon = calmly(follow, 2000);
    this.ticketsSoon = calmly(() => { this.drawTickets(); this.drawTiles(); }, 150);
    this.calm = [this.devicesSoon, this.ticketsSoon, this.followSoon];
  }

  all() {
    text(this.head, this.site.info.name || this.site.info.gateway);
    this.places.all();
    this.drawTroubles();
    this.drawTickets();
    this.places.draw();
    this.drawLines();
    this.drawConsumers();
    this.drawTiles();
    this.follow();
  }

  live(change) {
    if (change.kind === 'all') this.all();
    else if (change.kind === 'site') { this.drawTroubles(); this.drawTiles(); }
    else if (change.kind === 'device') this.devicesSoon();
    else if (change.kind === 'ticket') this.ticketsSoon();
    else if (change.kind === 'lines') { this.drawLines(); this.drawTiles(); }
    else if (change.kind === 'consumers') { this.drawConsumers(); this.drawTiles(); }
    else if (change.kind === 'points') for (const point of change.points) { this.places.tellPoint(point); this.finder.tellPoint(point); }
  }

  /** What is left until a deadline and how long ago, as time passes. */
  times() {
    for (const node of this.tickets.children) tellDue(node, node.ticket);
    for (const node of this.consumers.children) tellConsumer(node, node.consumer);
    if (++this.ticks % AGES_EVERY === 0) this.places.times();
  }

  // ---- at the top ----

  drawTroubles() {
    const troubles = this.site.info.troubles || [];
    mark(this.troubles, 'aria-label', t('troubles'));
    rows(this.troubles, troubles, words => words, words => el('li', {}, words));
    this.troubles.hidden = !troubles.length;
  }

  drawTiles() {
    const tickets = [...this.site.tickets.values()].filter(unrepaired);
    const levels = [1, 2, 3].map(n => tickets.filter(ticket => ticket.level === n));
    const devices = [...this.site.devices.values()];
    const away = devices.filter(device => ['offline', 'degraded'].includes(device.state)).length;
    const down = this.site.lines.filter(line => line.state === 'down').length;
    const lag = Math.max(0, ...this.site.consumers.map(one => one.lag));
    const stuck = this.site.consumers.some(one => one.error);
    const tiles = [
      ...levels.map((of, at) => ({ key: 'level' + (at + 1), href: `#/tickets?state=unrepaired&level=${at + 1}`, n: of.length, words: t('level' + (at + 1)), tone: of.length ? ['bad', 'warn', 'note'][at] : 'calm' })),
      { key: 'devices', href: '#home-devices', n: away || devices.length, words: away ? t('devices-away') : t('devices'), tone: away ? 'bad' : 'calm' },
      { key: 'lines', href: '#home-lines', n: down || this.site.lines.length, words: down ? t('lines-down') : t('lines'), tone: down ? 'bad' : 'calm' },
      { key: 'uplink', href: '#home-uplink', n: this.site.consumers.length ? lag : '—', words: t(this.site.consumers.length ? 'to-tell' : 'uplink'), tone: stuck ? 'bad' : lag > 100 ? 'warn' : 'calm' },
    ];
    rows(this.tiles, tiles, tile => tile.key, tile => makeTile(tile), tellTile);
  }

  // ---- tickets ----

  drawTickets() {
    const all = [...this.site.tickets.values()].sort(urgency);
    rows(this.tickets, all.slice(0, TICKETS_SHOWN), ticket => ticket.id, makeTicket, tellTicket);
    this.noTickets.hidden = all.length > 0;
    this.allTickets.hidden = !all.length;
    text(this.allTickets, t('all-tickets', { n: all.length, m: all.filter(unrepaired).length }));
  }

  /** Readings are asked for where they can be seen. */
  follow() {
    const wanted = [...new Set([...this.finder.devices(), ...this.places.seen()])].slice(0, FOLLOWED_MAX);
    this.site.watch(wanted.map(id => id + '.*'));
    this.places.followed(new Set(wanted));
  }

  // ---- lines, uplink ----

  drawLines() {
    const order = { down: 0, unknown: 1, up: 2 };
    const lines = this.site.lines.slice().sort((a, b) => order[a.state] - order[b.state] || a.id.localeCompare(b.id));
    rows(this.lines, lines, line => line.id, makeLine, tellLine);
  }

  drawConsumers() {
    rows(this.consumers, this.site.consumers, one => one.name, makeConsumer, tellConsumer);
    if (!this.site.consumers.length) this.consumers.replaceChildren(el('li', { class: 'empty' }, t('no-uplink')));
  }
}

function makeTile(tile) {
  const n = el('b', {}), words = el('span', {});
  const link = el('a', { href: tile.href, data: { tile: tile.key } }, n, words);
  // An address with # alone is the router's.
  if (!tile.href.startsWith('#/')) {
    link.addEventListener('click', event => { event.preventDefault(); document.getElementById(tile.href.slice(1)).scrollIntoView({ block: 'start' }); });
  }
  return Object.assign(el('li', {}, link), { parts: { link, n, words } });
}

function tellTile({ parts: { link, n, words } }, tile) {
  text(n, typeof tile.n === 'number' ? number(tile.n) : tile.n);
  text(words, tile.words);
  mark(link, 'data-tone', tile.tone);
}
