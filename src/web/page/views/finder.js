// A search over devices, points and places, with what is found kept true.

import { el, mark, rows, text } from '../dom.js';
import { beside, qualityOf, state } from '../show.js';
import { add, t, value } from '../words.js';

add({
  zh: { search: '查找设备、测点、位置', found: '找到 {n} 项', 'found-none': '没有找到', 'found-first': '找到 {n} 项，显示前 {shown} 项' },
  en: { search: 'Find devices, points, places', found: '{n} found', 'found-none': 'Nothing found', 'found-first': '{n} found, the first {shown} shown' },
});

const FOUND_MAX = 40;

export class Finder {
  /** `follow()` when other points are to be seen than before. */
  constructor(site, follow) {
    this.site = site;
    this.found = [];
    this.rowOf = new Map();
    this.input = el('input', { id: 'search', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: t('search'), data: { field: 'search' } });
    this.told = el('p', { class: 'small', role: 'status' });
    this.list = el('ul', { class: 'devices found', data: { hook: 'found' } });
    this.node = el('div', { class: 'search', role: 'search' }, el('label', { class: 'hidden', for: 'search' }, t('search')), this.input, this.told, this.list);
    const look = () => { this.look(); follow(); };
    this.input.addEventListener('input', look);
    this.input.addEventListener('keydown', event => { if (event.key === 'Escape') { this.input.value = ''; look(); } });
  }

  look() {
    const all = find(this.site, this.input.value);
    this.found = all.slice(0, FOUND_MAX);
    const n = all.length;
    text(this.told, !this.input.value.trim() ? '' : !n ? t('found-none') : t(n > FOUND_MAX ? 'found-first' : 'found', { n, shown: FOUND_MAX }));
    this.rowOf.clear();
    rows(this.list, this.found, one => one.key, makeRow, (row, one) => {
      if (one.point) { this.rowOf.set(one.point.id, row); tellRow(row, this.site.points.get(one.point.id) || one.point); }
    });
  }

  /** Whose readings are to be seen. */
  devices() { return this.found.filter(one => one.point).map(one => one.point.device); }

  tellPoint(point) {
    const row = this.rowOf.get(point.id);
    if (row) tellRow(row, point);
  }
}

/** Each word has to be in it; points are found by their own name, and by their place together with it. */
function find(site, words) {
  const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (!parts.length) return [];
  const matches = texts => parts.every(part => texts.some(one => one && one.toLowerCase().includes(part)));
  const found = [];
  for (const device of site.devices.values()) {
    if (matches([device.id, device.place, device.profile, device.channel])) found.push({ key: 'd ' + device.id, device });
  }
  for (const point of site.points.values()) {
    const place = site.devices.get(point.device)?.place;
    if (parts.some(part => point.id.toLowerCase().includes(part)) && matches([point.id, place])) found.push({ key: 'p ' + point.id, point, place });
  }
  return found;
}

function makeRow({ device, point, place }) {
  const id = device ? device.id : point.id;
  const shown = device ? state(device.state) : el('span', { class: 'val' });
  const href = `#/device/${encodeURIComponent(device ? device.id : point.device)}${point ? '?point=' + encodeURIComponent(point.id) : ''}`;
  const link = el('a', { class: 'row', href, data: device ? { device: device.id } : { point: point.id } },
    el('span', { class: 'id' }, id), shown, el('span', { class: 'small' }, device ? device.place : place));
  return Object.assign(el('li', {}, link), { parts: { link, shown } });
}

function tellRow({ parts: { link, shown } }, point) {
  text(shown, value(point.value, point.value === null ? null : point.unit));
  mark(link, 'data-quality', qualityOf(point));
  mark(link, 'title', beside(point) || null);
}
