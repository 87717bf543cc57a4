// Devices by place: what is wrong stands there, what is well is folded and counted.

import { el, mark, rows, text } from '../dom.js';
import { beside, qualityOf, state } from '../show.js';
import { add, age, left, t, value } from '../words.js';

add({
  zh: { 'all-well': '{n} 台正常', away: '{n} 台异常', 'cells-open': '柜门打开' },
  en: { 'all-well': '{n} well', away: '{n} in trouble', 'cells-open': 'cells open' },
});

/** Readings of so many devices are followed; of more, only the state is shown. */
export const FOLLOWED_MAX = 60;
const VALUES_SHOWN = 3;
const CELL = /\.cell-\d+$/;
const WIDE = matchMedia('(min-width: 60rem)');
const TROUBLED = { offline: 0, degraded: 1, maintenance: 2, unknown: 3 };
// Milliseconds; what is older than this says so.
const OLD = 5 * 60e3;
const rank = device => TROUBLED[device.state] ?? 9;

export class Places {
  /** `follow()` when other devices are to be seen than before. */
  constructor(site, follow) {
    this.site = site;
    this.follow = follow;
    this.node = el('div', { class: 'places', data: { hook: 'places' } });
    this.valueNodes = new Map();
    this.pointsOf = new Map();
    this.made = 0;
  }

  /** All may be other than before. */
  all() {
    this.pointsOf.clear();
    for (const point of this.site.points.values()) {
      if (!this.pointsOf.has(point.device)) this.pointsOf.set(point.device, []);
      this.pointsOf.get(point.device).push(point.id);
      this.tellPoint(point);
    }
  }

  draw() {
    const places = new Map();
    for (const device of this.site.devices.values()) {
      const first = (device.place || '').split('/')[0];
      if (!places.has(first)) places.set(first, []);
      places.get(first).push(device);
    }
    const groups = [...places].map(([place, devices]) => ({ place, devices, worst: Math.min(...devices.map(rank)) }));
    groups.sort((a, b) => (a.worst > 2) - (b.worst > 2) || a.place.localeCompare(b.place, 'zh', { numeric: true }));
    rows(this.node, groups, group => group.place, group => this.makeGroup(group), (node, group) => this.tellGroup(node, group));
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
    node.parts = { dot, where, why, link, values };
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
    const shown = el('span', { class: 'val' }), old = el('span', { class: 'old' });
    const name = point.id.slice(point.device.length + 1);
    const node = el('span', { class: 'reading', data: { point: point.id } }, el('span', { class: 'what' }, name), shown, old);
    node.parts = { shown, old };
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
    text(node.parts.shown, value(point.value, point.value === null ? null : point.unit));
    tellAge(node, point);
    mark(node, 'data-quality', qualityOf(point));
    mark(node, 'title', `${point.id}${beside(point) && ': ' + beside(point)}`);
  }

  /** Time goes on, and with it the age of what stands there. */
  times() {
    for (const [id, node] of this.valueNodes) if (node.parts) tellAge(node, this.site.points.get(id));
  }

  /** Devices whose rows are there. */
  seen() {
    return this.shown().map(row => row.rowKey);
  }

  /** A value that nobody keeps true is not shown. */
  followed(devices) {
    for (const row of this.shown()) row.parts.values.hidden = !devices.has(row.rowKey);
  }

  shown() {
    return [...this.node.children].flatMap(({ parts: { troubled, well } }) => [...troubled.children, ...(well.hidden ? [] : well.children)]);
  }
}

function tellAge({ parts }, point) {
  const old = point && point.value !== null && point.at && -left(point.at) > OLD;
  text(parts.old, old ? age(point.at) : '');
}
