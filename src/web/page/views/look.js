// Look now: the device itself is asked, and what went over the wire is shown, byte for byte.

import { post } from '../api.js';
import { el } from '../dom.js';
import { section } from '../show.js';
import { add, said, t, value } from '../words.js';

add({
  zh: { 'look.title': '现场读取', 'look.now': '立即读取', 'look.about': '直接询问设备一次，显示收发的原始字节', 'look.reading': '正在询问设备…', 'look.sent': '发送', 'look.heard': '收到', 'look.nothing': '没有应答', 'look.words': '寄存器', 'look.otherwise': '若按 {as}：{value}', 'look.range': '量程 {from}–{to}', 'look.none': '没有可读取的内容', 'look.point': '测点', 'look.value': '值' },
  en: { 'look.title': 'Look now', 'look.now': 'Ask the device', 'look.about': 'Asks the device itself, once, and shows the raw bytes of both sides', 'look.reading': 'Asking the device…', 'look.sent': 'sent', 'look.heard': 'heard', 'look.nothing': 'no answer', 'look.words': 'Registers', 'look.otherwise': 'as {as}: {value}', 'look.range': 'range {from}–{to}', 'look.none': 'There is nothing to ask', 'look.point': 'Point', 'look.value': 'Value' },
});

/** A card with a button; what was heard has `data-look`. */
export function lookNow(device) {
  const out = el('div', { role: 'status', data: { look: '' } });
  const button = el('button', { type: 'button', data: { action: 'read' }, on: { click: ask } }, t('look.now'));
  async function ask() {
    button.disabled = true;
    out.replaceChildren(el('p', { class: 'small' }, t('look.reading')));
    try {
      const { exchanges } = await post(`devices/${encodeURIComponent(device)}/read`, {});
      out.replaceChildren(...(exchanges.length ? exchanges.map(exchange) : [el('p', { class: 'empty' }, t('look.none'))]));
    } catch (error) {
      out.replaceChildren(el('p', { class: 'wrong', role: 'alert' }, error.message));
    }
    button.disabled = false;
  }
  return section('device-look', t('look.title'), el('p', { class: 'small' }, t('look.about')), el('div', { class: 'acts' }, button), out);
}

function exchange({ what, sent, heard, trouble, values }) {
  const bytes = (label, hex) => el('p', { class: 'look-bytes' }, el('span', { class: 'small' }, label), el('code', {}, hex || '—'));
  return el('article', { class: 'exchange' }, el('h3', {}, what),
    sent || heard ? [bytes(t('look.sent'), sent), bytes(t('look.heard'), heard || (trouble ? t('look.nothing') : ''))] : null,
    trouble ? el('p', { class: 'wrong' }, trouble) : null,
    values && values.length ? el('div', { class: 'scroll' }, el('table', {},
      el('thead', {}, el('tr', {}, ['look.point', 'look.words', 'look.value'].map(word => el('th', { scope: 'col' }, t(word))))),
      el('tbody', {}, values.map(line)))) : null);
}

function line({ point, words, value: heard, reason, unit, range, otherwise }) {
  const notes = [range && reason === 'out-of-range' ? t('look.range', { from: range[0], to: range[1] }) : null,
    ...(otherwise || []).map(other => t('look.otherwise', { as: other.as, value: value(other.value, unit) }))].filter(Boolean);
  return el('tr', {}, el('th', { scope: 'row' }, point.split('.').slice(1).join('.')), el('td', {}, el('code', {}, words.join(' '))),
    el('td', {}, reason ? el('span', { class: 'wrong' }, said(reason)) : el('b', {}, value(heard, unit)), notes.length ? el('span', { class: 'small look-notes' }, notes.join(' · ')) : null));
}
