// The compound at a glance: what is wrong first, then where everything stands.

import { calmly, el, mark, rows, text } from '../dom.js';
import { beside, heading, qualityOf, section, state, urgency } from '../show.js';
import { add, age, number, t, value } from '../words.js';
import { makeTicket, tellDue, tellTicket } from './ticket_row.js';
import { makeConsumer, makeLine, tellConsumer, tellLine } from './wires.js';

add({
  zh: {
    'open-tickets': '未关闭工单', devices: '设备', lines: '线路', uplink: '上报中心', search: '查找设备、测点、位置', found: '找到 {n} 项', 'found-none': '没有找到', 'no-tickets': '没有未关闭的工单',
    'all-tickets': '查看全部 {n} 张工单', 'all-well': '{n} 台正常', away: '{n} 台异常', 'devices-away': '台设备异常', 'lines-down': '条线路中断', 'no-uplink': '未配置上报', troubles: '网关的问题', point: '测点', 'cells-open': '柜门打开',
  },
  en: {
    'open-tickets': 'Open tickets', devices: 'Devices', lines: 'Lines', uplink: 'Uplink', search: 'Find devices, points, places', found: '{n} found', 'found-none': 'Nothing found', 'no-tickets': 'No open tickets',
    'all-tickets': 'All {n} tickets', 'all-well': '{n} well', away: '{n} in trouble', 'devices-away': 'devices in trouble', 'lines-down': 'lines down', 'no-uplink': 'no uplink configured', troubles: 'Troubles of the gateway', point: 'point', 'cells-open': 'cells open',
  },
});

const TICKETS_SHOWN = 6;
const FOUND_MAX = 40;
// Values of so many devices are followed; of more, only their state.
const FOLLOWED_MAX = 40;
const VALUES_SHOWN = 3;
const CELL = /\.cell-\d+$/;
const WIDE = matchMedia('(min-width: 60rem)');
const TROUBLED = { offline: 0, degraded: 1, maintenance: 2, unknown: 3 };

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
    this.valueNodes = new Map();
    this.foundPoints = new Map();
    this.made = 0;
    this.tiles = el('ul', { class: 'tiles' });
    this.troubles = el('ul', { class: 'troubles', data: { hook: 'troubles' } });
    this.search = this.searchField();
    this.tickets = el('ul', { class: 'list', data: { hook: 'tickets' } });
    this.allTickets = el('a', { class: 'more', href: '#/tickets' });
    this.noTickets = el('p', { class: 'empty' }, t('no-tickets'));
    this.places = el('div', { class: 'places', data: { hook: 'places' } });
    this.lines = el('ul', { class: 'list', data: { hook: 'lines' } });
    this.consumers = el('ul', { class: 'list', data: { hook: 'consumers' } });
    this.head = heading('');
    this.node = el('div', {},
      el('div', { class: 'hello' }, this.head, this.tiles), this.troubles, this.search.node,
      el('div', { class: 'columns' },
        el('div', { class: 'main' },
          section('home-tickets', t('open-tickets'), this.tickets, this.noTickets, this.allTickets),
          section('home-devices', t('devices'), this.places)),
        el('div', { class: 'side' },
          section('home-lines', t('lines'), this.lines),
          section('home-uplink', t('uplink'), this.consumers))));
    this.devicesSoon = calmly(() => { this.drawPlaces(); this.drawTiles(); }, 300);
    this.ticketsSoon = calmly(() => { this.drawTickets(); this.drawTiles(); }, 150);
    this.calm = [this.devicesSoon, this.ticketsSoon];
  }

  all() {
    text(this.head, this.site.info.name || this.site.info.gateway);
    this.pointsOf = new Map();
    for (const point of this.site.points.values()) {
      if (!this.pointsOf.has(point.device)) this.pointsOf.set(point.device, []);
      this.pointsOf.get(point.device).push(point.id);
    }
    this.drawTroubles();
    this.drawTickets();
    this.drawPlaces();
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
    else if (change.kind === 'points') for (const point of change.points) { this.tellPoint(point); this.tellFound(this.foundPoints.get(point.id), { point }); }
  }

  /** What is left until a deadline and how long ago, as time passes. */
  times() {
    for (const node of this.tickets.children) tellDue(node, node.ticket);
    for (const node of this.consumers.children) tellConsumer(node, node.consumer);
  }

  // ---- at the top ----

  drawTroubles() {
    const troubles = this.site.info.troubles || [];
    mark(this.troubles, 'aria-label', t('troubles'));
    rows(this.troubles, troubles, words => words, words => el('li', {}, words));
    this.troubles.hidden = !troubles.length;
  }

  drawTiles() {
    const tickets = [...this.site.tickets.values()].filter(ticket => ticket.state !== 'resolved');
    const levels = [1, 2, 3].map(n => tickets.filter(ticket => ticket.level === n));
    const devices = [...this.site.devices.values()];
    const away = devices.filter(device => ['offline', 'degraded'].includes(device.state)).length;
    const down = this.site.lines.filter(line => line.state === 'down').length;
    const lag = Math.max(0, ...this.site.consumers.map(one => one.lag));
    const stuck = this.site.consumers.some(one => one.error);
    const tiles = [
      ...levels.map((of, at) => ({ key: 'level' + (at + 1), href: `#/tickets?level=${at + 1}`, n: of.length, words: t('level' + (at + 1)), tone: of.some(holds) ? ['bad', 'warn', 'note'][at] : 'calm' })),
      { key: 'devices', href: '#home-devices', n: away || devices.length, words: away ? t('devices-away') : t('devices'), tone: away ? 'bad' : 'calm' },
      { key: 'lines', href: '#home-lines', n: down || this.site.lines.length, words: down ? t('lines-down') : t('lines'), tone: down ? 'bad' : 'calm' },
      { key: 'uplink', href: '#home-uplink', n: this.site.consumers.length ? lag : '—', words: t('uplink'), tone: stuck ? 'bad' : lag > 100 ? 'warn' : 'calm' },
    ];
    rows(this.tiles, tiles, tile => tile.key, tile => makeTile(tile), tellTile);
  }

  // ---- tickets ----

  drawTickets() {
    const all = [...this.site.tickets.values()].sort(urgency);
    rows(this.tickets, all.slice(0, TICKETS_SHOWN), ticket => ticket.id, makeTicket, tellTicket);
    this.noTickets.hidden = all.length > 0;
    this.allTickets.hidden = all.length <= TICKETS_SHOWN;
    text(this.allTickets, t('all-tickets', { n: all.length }));
  }

  // ---- devices by place ----

  drawPlaces() {
    const places = new Map();
    for (const device of this.site.devices.values()) {
      const first = (device.place || '').split('/')[0];
      if (!places.has(first)) places.set(first, []);
      places.get(first).push(device);
    }
    const groups = [...places].map(([place, devices]) => ({ place, devices, worst: Math.min(...devices.map(rank)) }));
    groups.sort((a, b) => (a.worst > 2) - (b.worst > 2) || a.place.localeCompare(b.place, 'zh', { numeric: true }));
    rows(this.places, groups, group => group.place, group => this.makeGroup(group), (node, group) => this.tellGroup(node, group));
  }

  makeGroup({ place }) {
    const id = 'place-' + ++this.made;
    const counts = el('span', { class: 'counts' });
    const open = el('button', { type: 'button', class: 'fold', 'aria-controls': id }, el('span', {}, place || t('no-place')), counts);
    const troubled = el('ul', { class: 'devices' });
    const well = el('ul', { class: 'devices', id });
    const node = el('div', { class: 'place', data: { place } }, el('h3', {}, open), troubled, well);
    node.parts = { counts, open, troubled, well };
    // On a desk a small compound is shown as it is; of a large one, and on a phone, only what is wrong.
    well.hidden = this.site.devices.size > FOLLOWED_MAX || !WIDE.matches;
    open.addEventListener('click', () => { well.hidden = !well.hidden; this.tellFold(node); this.follow(); });
    return node;
  }

  tellGroup(node, { devices }) {
    const { counts, troubled } = node.parts;
    const sorted = devices.slice().sort((a, b) => rank(a) - rank(b) || a.place.localeCompare(b.place, 'zh', { numeric: true }) || a.id.localeCompare(b.id));
    const wrong = sorted.filter(device => rank(device) < 9);
    node.fine = sorted.filter(device => rank(device) === 9);
    const away = wrong.filter(device => rank(device) < 2).length;
    text(counts, [away ? t('away', { n: away }) : null, node.fine.length ? t('all-well', { n: node.fine.length }) : null].filter(Boolean).join(' · '));
    mark(counts, 'data-tone', away ? 'bad' : null);
    rows(troubled, wrong, device => device.id, device => this.makeDevice(device), (row, device) => this.tellDevice(row, device));
    this.tellFold(node);
  }

  tellFold(node) {
    const { open, well } = node.parts;
    mark(open, 'aria-expanded', String(!well.hidden));
    open.disabled = !node.fine.length;
    if (!well.hidden) rows(well, node.fine, device => device.id, device => this.makeDevice(device), (row, device) => this.tellDevice(row, device));
  }

  makeDevice(device) {
    const dot = state(device.state);
    const where = el('span', { class: 'small' }), why = el('span', { class: 'small why' });
    const values = el('span', { class: 'values' });
    const own = (this.pointsOf.get(device.id) || []).filter(id => !this.site.points.get(id).momentary);
    const cells = own.filter(id => CELL.test(id));
    if (cells.length > VALUES_SHOWN) values.append(this.makeCells(device.id, cells));
    else for (const id of own.slice(0, VALUES_SHOWN)) values.append(this.makeValue(this.site.points.get(id)));
    const link = el('a', { class: 'row', href: '#/device/' + encodeURIComponent(device.id), data: { device: device.id } },
      el('span', { class: 'id' }, device.id), dot, where, values, why);
    const node = el('li', {}, link);
    node.parts = { dot, where, why, link };
    return node;
  }

  tellDevice({ parts: { link, dot, where, why } }, device) {
    mark(link, 'data-state', device.state);
    mark(dot, 'data-state', device.state);
    text(dot, t('state-' + device.state));
    text(where, (device.place || '').split('/').slice(1).join(' / ') || device.profile || device.channel);
    const away = ['offline', 'degraded'].includes(device.state) && device.since;
    text(why, [away ? age(device.since) : '', device.error].filter(Boolean).join(' · '));
  }

  makeValue(point) {
    const shown = el('span', { class: 'val' });
    const name = point.id.slice(point.device.length + 1);
    const node = el('span', { class: 'reading', data: { point: point.id } }, el('span', { class: 'what' }, name), shown);
    node.shown = shown;
    this.valueNodes.set(point.id, node);
    this.tellPoint(point);
    return node;
  }

  /** Of a locker: how many of its cells stand open. */
  makeCells(device, cells) {
    const shown = el('span', { class: 'val' });
    const tell = () => {
      const now = cells.map(id => this.site.points.get(id)).filter(point => point.value !== null);
      text(shown, now.length ? `${now.filter(point => point.value === 'open').length} / ${now.length}` : '—');
    };
    for (const id of cells) this.valueNodes.set(id, { tell });
    tell();
    return el('span', { class: 'reading', data: { cells: device } }, el('span', { class: 'what' }, t('cells-open')), shown);
  }

  tellPoint(point) {
    const node = this.valueNodes.get(point.id);
    if (!node) return;
    if (node.tell) { node.tell(); return; }
    text(node.shown, value(point.value, point.value === null ? null : point.unit));
    mark(node, 'data-quality', qualityOf(point));
    mark(node, 'title', `${point.id}${beside(point) && ': ' + beside(point)}`);
  }

  /** Readings are asked for where they can be seen. */
  follow() {
    const wanted = new Set(this.search.devices());
    for (const group of this.places.children) {
      for (const row of group.parts.troubled.children) wanted.add(row.rowKey);
      if (!group.parts.well.hidden) for (const row of group.parts.well.children) wanted.add(row.rowKey);
    }
    this.site.watch([...wanted].slice(0, FOLLOWED_MAX).map(id => id + '.*'));
  }

  // ---- search ----

  searchField() {
    const input = el('input', { id: 'search', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: t('search'), data: { field: 'search' } });
    const told = el('p', { class: 'small', role: 'status' });
    const list = el('ul', { class: 'devices found' });
    const node = el('search', { class: 'search' }, el('label', { class: 'hidden', for: 'search' }, t('search')), input, told, list);
    let found = [];
    const look = () => {
      found = this.find(input.value);
      text(told, !input.value.trim() ? '' : found.length ? t('found', { n: found.length }) : t('found-none'));
      rows(list, found.slice(0, FOUND_MAX), one => one.key, makeFound, (row, one) => this.tellFound(row, one));
      this.foundPoints = new Map(found.slice(0, FOUND_MAX).filter(one => one.point).map(one => [one.point.id, list.children[found.indexOf(one)]]));
      this.follow();
    };
    input.addEventListener('input', look);
    input.addEventListener('keydown', event => { if (event.key === 'Escape') { input.value = ''; look(); } });
    return { node, devices: () => found.slice(0, FOUND_MAX).filter(one => one.point).map(one => one.point.device) };
  }

  find(words) {
    const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
    if (!parts.length) return [];
    const matches = texts => parts.every(part => texts.some(one => one && one.toLowerCase().includes(part)));
    const found = [];
    for (const device of this.site.devices.values()) {
      if (matches([device.id, device.place, device.profile, device.channel])) found.push({ key: 'd ' + device.id, device });
    }
    for (const point of this.site.points.values()) {
      const place = this.site.devices.get(point.device)?.place;
      if (matches([point.id, place]) && parts.some(part => point.id.toLowerCase().includes(part))) found.push({ key: 'p ' + point.id, point, place });
    }
    return found;
  }

  tellFound(row, { point }) {
    if (!row || !point) return;
    const now = this.site.points.get(point.id) || point;
    text(row.parts.shown, value(now.value, now.value === null ? null : now.unit));
    mark(row.parts.link, 'data-quality', qualityOf(now));
    mark(row.parts.link, 'title', beside(now) || null);
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

const holds = ticket => !ticket.cleared_at;
const rank = device => TROUBLED[device.state] ?? 9;

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

function makeFound({ device, point, place }) {
  const id = device ? device.id : point.id;
  const shown = device ? state(device.state) : el('span', { class: 'val' });
  const link = el('a', { class: 'row', href: '#/device/' + encodeURIComponent(device ? device.id : point.device) + (point ? '?point=' + encodeURIComponent(point.id) : ''),
    data: device ? { device: device.id } : { point: point.id } },
  el('span', { class: 'id' }, id), shown, el('span', { class: 'small' }, device ? device.place : place));
  return Object.assign(el('li', {}, link), { parts: { link, shown } });
}
