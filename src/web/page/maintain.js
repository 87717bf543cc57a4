// Maintenance of a device: from when to when it rests and in whose name, and the buttons to begin and end it.

import { now, post } from './api.js';
import { el } from './dom.js';
import * as person from './person.js';
import { add, brief, t, timezone } from './words.js';

add({
  zh: { tend: '进入维护…', hour: '1 小时', hours: '4 小时', morning: '到明早 8 点', cancel: '取消', 'end-maintenance': '结束维护', 'rests': '维护中，至 {until}', 'tend-for': '维护多久？期间不产生工单', note: '备注' },
  en: { tend: 'Maintenance…', hour: '1 hour', hours: '4 hours', morning: 'until 8 tomorrow', cancel: 'Cancel', 'end-maintenance': 'End maintenance', 'rests': 'in maintenance until {until}', 'tend-for': 'For how long? No tickets meanwhile', note: 'Note' },
});

const HOUR = 3600e3;
let made = 0;

/**
 * A block for one device; `tell(row)` keeps it true. What is being written in it stays.
 * Who may only read sees what rests, and no buttons.
 */
export function maintain(site, row) {
  const id = 'tend-' + ++made;
  const node = el('div', { class: 'maintain', data: { maintain: row.id } });
  let shown = null, choosing = false, device = row;

  const may = () => site.info && site.info.role !== 'viewer';
  const button = (words, action, does) => el('button', { type: 'button', data: { action }, on: { click: does } }, words);

  async function rest(scope, until, by) {
    try {
      await post('maintenance', { ...scope, until: new Date(until).toISOString(), by });
      choosing = false;
    } catch (error) {
      node.querySelector('.wrong')?.remove();
      node.append(el('p', { class: 'wrong', role: 'alert' }, error.message));
    }
  }

  function resting(over) {
    const scope = over.place ? { place: over.place } : { device: device.id };
    const who = person.field(id);
    const end = () => { const by = who.value(); if (by) rest(scope, now() - 1000, by); };
    return [
      el('p', {}, [t('rests', { until: brief(over.until) }), over.place, over.by, over.note].filter(Boolean).join(' · ')),
      may() && !person.name() ? who.node : null,
      may() ? el('div', { class: 'acts' }, button(t('end-maintenance') + (over.place ? ': ' + over.place : ''), 'end-maintenance', end)) : null,
    ];
  }

  function chooser() {
    const who = person.field(id);
    const begin = until => () => { const by = who.value(); if (by) rest({ device: device.id }, until(), by); };
    return [
      el('p', {}, t('tend-for')), who.node,
      el('div', { class: 'acts' },
        button(t('hour'), 'maintain-1h', begin(() => now() + HOUR)),
        button(t('hours'), 'maintain-4h', begin(() => now() + 4 * HOUR)),
        button(t('morning'), 'maintain-morning', begin(morning)),
        button(t('cancel'), 'maintain-cancel', () => { choosing = false; draw(true); node.querySelector('button')?.focus(); })),
    ];
  }

  const closed = () => (may() ? [el('div', { class: 'acts' },
    button(t('tend'), 'maintain', () => { choosing = true; draw(true); node.querySelector('input, button').focus(); }))] : []);

  function draw(force) {
    const over = device.maintenance;
    if (over) choosing = false;
    const now = JSON.stringify([over && { ...over, state: null }, choosing, may()]);
    if (now === shown && !force) return;
    shown = now;
    node.replaceChildren(...(over ? resting(over) : choosing ? chooser() : closed()).filter(Boolean));
  }

  draw();
  return { node, tell(row) { device = row; draw(); } };
}

/** Eight o'clock of the gateway's tomorrow. */
function morning() {
  const at = now() + 24 * HOUR;
  const parts = new Intl.DateTimeFormat('en', { timeZone: timezone(), hourCycle: 'h23', hour: 'numeric', minute: 'numeric', second: 'numeric' }).formatToParts(at);
  const of = name => Number(parts.find(part => part.type === name).value);
  return at - (of('hour') - 8) * HOUR - of('minute') * 60e3 - of('second') * 1e3;
}
