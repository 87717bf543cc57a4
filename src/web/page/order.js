// An order to a device, asked for in a dialog: what, by whom, why; and what came of it, as it comes.

import { now, post } from './api.js';
import { el, UNMEANT_MS } from './dom.js';
import { field } from './field.js';
import * as person from './person.js';
import { site } from './site.js';
import { add, has, said, t } from './words.js';

add({
  zh: { 'order.ask': '{device} · {target}', 'order.reason': '原因', 'order.reason-or-none': '原因（可不填）', 'order.go': '确认执行', 'order.cancel': '取消', 'order.close': '关闭', 'order.under-way': '命令已发出，等待设备应答…',
    'order.expires': '命令 1 分钟内有效，过期不再执行', 'order.executed': '已执行', 'order.failed': '没有执行', 'order.unsure': '结果未知，可能已执行', 'order.late': '设备一直没有应答，请到现场确认，并查看事件',
    'order.refused': '被拒绝', 'order.not-found': '没有这台设备', 'order.not-allowed': '配置不允许这条命令', 'order.wrong-role': '您的角色不能下这条命令', 'order.no-reason': '这条命令须写明原因',
    'order.outside-hours': '现在不在允许的时段内', 'order.too-often': '命令太频繁，请稍后再试', 'order.expired': '命令已过期，没有执行', 'order.clock-unsynced': '网关的时钟还没有校准，没有执行',
    'order.key-taken': '命令编号重复', 'order.key-used': '命令编号用过了，没有再次执行', 'order.keys-lost': '日志丢失过一部分，可能已执行过，请到现场确认', 'order.too-many-orders': '命令太多，没有执行', 'order.busy': '网关忙，请稍后再试', 'order.gone': '连接中断，不知道是否执行',
    'act-open': '开锁', 'act-pulse': '脉冲', 'act-on': '打开', 'act-off': '关闭', 'act-close': '关闭', 'act-start': '启动', 'act-stop': '停止', 'act-reset': '复位', 'order.device': '整台设备' },
  en: { 'order.ask': '{device} · {target}', 'order.reason': 'Reason', 'order.reason-or-none': 'Reason (may be empty)', 'order.go': 'Do it', 'order.cancel': 'Cancel', 'order.close': 'Close', 'order.under-way': 'Told; waiting for the device to answer…',
    'order.expires': 'Good for one minute, then it will not be done any more', 'order.executed': 'Done', 'order.failed': 'Not done', 'order.unsure': 'Unknown, it may have been done', 'order.late': 'The device has not answered; look on the spot, and at the events',
    'order.refused': 'Refused', 'order.not-found': 'There is no such device', 'order.not-allowed': 'The configuration does not allow it', 'order.wrong-role': 'Your role may not order it', 'order.no-reason': 'It is done for a reason only',
    'order.outside-hours': 'Not at this hour', 'order.too-often': 'Too often; try again in a while', 'order.expired': 'It expired and was not done', 'order.clock-unsynced': 'The gateway’s clock is not set yet; it was not done',
    'order.key-taken': 'Its key belongs to another order', 'order.key-used': 'Its key was used before; it was not done again', 'order.keys-lost': 'A part of the journal was lost, it may have been done before; look on the spot', 'order.too-many-orders': 'Too many orders; it was not done', 'order.busy': 'The gateway is busy; try again', 'order.gone': 'The connection broke; nobody knows whether it was done',
    'act-open': 'Open', 'act-pulse': 'Pulse', 'act-on': 'Switch on', 'act-off': 'Switch off', 'act-close': 'Close', 'act-start': 'Start', 'act-stop': 'Stop', 'act-reset': 'Reset', 'order.device': 'the device' },
});

const GOOD_FOR_MS = 60e3;
const AGAIN_MS = 3000;
const REASON_MAX = 500;

/** A word of the configuration's as people say it; what is not known stays as it is written. */
export const actionWord = action => { const word = t('act-' + action); return word === 'act-' + action ? said(action) : word; };

export const mayOrder = site => site.info?.role === 'technician';

const needsReason = (device, action, target) =>
  (site.devices.get(device)?.commands || []).some(one => one.reason && one.action === action && one.targets.includes(target));

/** Asks, orders and tells. The dialog has `data-order`, its outcome `data-order-told` and `data-outcome`. */
export function order({ device, action, target }) {
  const who = person.field('order-by');
  const needed = needsReason(device, action, target);
  const reason = el('input', { id: 'order-why', type: 'text', maxlength: REASON_MAX, required: needed, data: { field: 'reason' } });
  const why = field(reason, t(needed ? 'order.reason' : 'order.reason-or-none'), needed && t('order.no-reason'));
  const told = el('p', { role: 'status', class: 'order-told', data: { orderTold: '' } });
  const go = el('button', { type: 'submit', class: 'first', disabled: true, data: { action: 'order-go' } }, t('order.go'));
  const away = el('button', { type: 'button', data: { action: 'order-cancel' }, on: { click: () => dialog.close() } }, t('order.cancel'));
  const title = el('h2', { id: 'order-title', tabindex: -1 }, actionWord(action));
  // What is missing is asked for here, in the page's language; a browser asks in its own.
  const form = el('form', { novalidate: true, on: { submit } }, title,
    el('p', { class: 'order-what' }, t('order.ask', { device, target: target || t('order.device') })),
    who.node, why.node, el('p', { class: 'small' }, t('order.expires')), told, el('div', { class: 'acts' }, go, away));
  const dialog = el('dialog', { 'aria-labelledby': 'order-title', class: 'order', data: { order: `${device} ${target}` } }, form);
  const leave = () => dialog.close();
  addEventListener('hashchange', leave);
  dialog.addEventListener('close', () => { removeEventListener('hashchange', leave); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
  // Not on the button, which a key that is held down would press.
  (!person.name() ? form.querySelector('[data-field=by]') : needed ? reason : title).focus();
  setTimeout(() => { go.disabled = false; }, UNMEANT_MS);

  async function submit(event) {
    event.preventDefault();
    const by = who.value();
    const because = by && why.value();
    if (!by || because === null) return;
    for (const input of form.querySelectorAll('input')) input.disabled = true;
    go.disabled = true;
    // It is given now: what only shuts the dialog must not look as if it took it back.
    away.textContent = t('order.close');
    say('under-way');
    const body = { action, target, reason: because || null, by, key: key(), expires_at: new Date(now() + GOOD_FOR_MS).toISOString() };
    const [word, detail] = await given(device, body, () => dialog.open);
    say(word, detail);
    go.hidden = true;
    if (dialog.open) away.focus();
  }
  function say(word, detail = '') {
    told.dataset.outcome = word;
    // What the gateway adds is English, as everywhere in the journal.
    told.replaceChildren(t(`order.${word}`), detail ? el('span', { class: 'small', lang: 'en' }, detail) : '');
  }
}

/** `[word, detail]`; asked again under the same key, which happens once, until the device has answered. */
async function given(device, body, wanted) {
  const end = Date.now() + GOOD_FOR_MS;
  for (;;) {
    try {
      const answer = await post(`devices/${encodeURIComponent(device)}/commands`, body);
      if (answer.outcome) return [answer.outcome, answer.detail];
    } catch (error) {
      if (!error.status) return ['gone', ''];
      // A clock that is not set cannot say what is too late; who waits before the page can.
      const problem = String(error.problem?.type).split(':').at(-1);
      if (body.expires_at && problem === 'clock-unsynced') { delete body.expires_at; continue; }
      return [has('order.' + problem) ? problem : 'refused', error.message];
    }
    if (Date.now() > end || !wanted()) return ['late', ''];
    await new Promise(resolve => setTimeout(resolve, AGAIN_MS));
  }
}

// randomUUID is not there over plain http; this is.
const key = () => 'page-' + [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');
