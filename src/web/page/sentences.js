// What happened, in a sentence a person would say, for every type of event of the journal.

import { actionWord } from './order.js';
import { add, has, said, brief, span, t, value } from './words.js';

add({
  zh: {
    'ticket.opened': '工单开启：{title}', 'ticket.updated': '工单更新：{title}', 'ticket.escalated': '工单超时：{title}', 'ticket.cleared': '告警恢复：{title}',
    'ticket.reopened': '再次发生（第 {occurrences} 次）：{title}', 'ticket.acknowledged': '{by} 已确认：{title}', 'ticket.started': '{by} 开始处理：{title}',
    'ticket.resolved': '{by} 处理完成：{title}', 'ticket.verified': '验证通过：{title}', 'ticket.closed': '工单关闭（{by}）：{title}',
    'access.card': '{what}：刷卡', 'access.keypad': '{what}：按键输入', 'access.granted': '{what}：允许进入', 'access.denied': '{what}：拒绝进入', 'access.opened': '{what}：门打开',
    'access.closed': '{what}：门关闭', 'access.forced': '{what}：门被强行打开', 'access.held': '{what}：门长时间未关', 'access.exit': '{what}：按下出门按钮', 'access.tamper': '{what}：防拆报警',
    'locker.opened': '{what} {cell} 号格打开', 'locker.closed': '{what} {cell} 号格关上', 'locker.deposited': '{what} {cell} 号格已存件', 'locker.collected': '{what} {cell} 号格已取件',
    'locker.unexpected': '{what} {cell} 号格异常打开（没有开锁命令）', 'locker.jammed': '{what} {cell} 号格卡住', 'locker.held': '{what} {cell} 号格未关', 'locker.overdue': '{what} {cell} 号格超期未取',
    'device.online': '设备 {what} 恢复在线', 'device.offline': '设备 {what} 离线{why}', 'device.degraded': '设备 {what} 应答不稳定{why}',
    'readings.summary': '{what}：读数汇总（{points} 个测点）',
    'gateway.started': '网关启动，版本 {version}', 'gateway.stopped': '网关停止', 'gateway.config-changed': '配置已更改', 'gateway.config-rejected': '配置有错，未采用：{reason}',
    'gateway.clock-stepped': '时钟被调整 {offset}', 'gateway.erased': '{by} 清除了一人的记录（{events} 条）', 'gateway.expired': '到期事件的内容已清除', 'stub.erased': '（内容已清除）', 'stub.expired': '（内容已过保存期）', 'gateway.storage-low': '存储空间不足，剩余 {free}', 'gateway.storage-well': '存储空间恢复', 'gateway.events-dropped': '有 {count} 条事件未能保留：{reason}',
    'gateway.data-quality': '{day} 数据质量日报', 'gateway.maintenance': '{what}：维护{state}（{by}）',
    'begun': '开始，至 {until}', 'changed': '改为至 {until}', 'ended': '结束',
    'command.executed': '{by} 的命令：{what} {action} {target}，{outcome}', 'command.refused': '命令被拒绝：{what} {action} {target}（{detail}）', 'command.refused.many': '另有 {times} 条命令被拒绝',
    executed: '已执行', failed: '失败', unsure: '结果未知', denied: '拒绝',
    'kind-ticket': '工单', 'kind-access': '门禁', 'kind-locker': '柜格', 'kind-device': '设备', 'kind-gateway': '网关', 'kind-command': '命令', 'kind-readings': '读数', 
    colon: '：', unwatched: '断线期间',
  },
  en: {
    'ticket.opened': 'Ticket opened: {title}', 'ticket.updated': 'Ticket updated: {title}', 'ticket.escalated': 'Deadline missed: {title}', 'ticket.cleared': 'Back to normal: {title}',
    'ticket.reopened': 'Again ({occurrences}×): {title}', 'ticket.acknowledged': '{by} acknowledged: {title}', 'ticket.started': '{by} started on: {title}',
    'ticket.resolved': '{by} resolved: {title}', 'ticket.verified': 'Repair verified: {title}', 'ticket.closed': 'Closed by {by}: {title}',
    'access.card': '{what}: card shown', 'access.keypad': '{what}: code entered', 'access.granted': '{what}: let in', 'access.denied': '{what}: denied', 'access.opened': '{what}: opened',
    'access.closed': '{what}: closed', 'access.forced': '{what}: forced open', 'access.held': '{what}: held open', 'access.exit': '{what}: exit button', 'access.tamper': '{what}: tampered with',
    'locker.opened': '{what} cell {cell} opened', 'locker.closed': '{what} cell {cell} closed', 'locker.deposited': '{what} cell {cell}: deposited', 'locker.collected': '{what} cell {cell}: collected',
    'locker.unexpected': '{what} cell {cell} opened without an order', 'locker.jammed': '{what} cell {cell} is jammed', 'locker.held': '{what} cell {cell} is held open', 'locker.overdue': '{what} cell {cell} is overdue',
    'device.online': 'Device {what} is online', 'device.offline': 'Device {what} is offline{why}', 'device.degraded': 'Device {what} answers unsteadily{why}',
    'readings.summary': '{what}: summary of readings ({points} points)',
    'gateway.started': 'The gateway started, version {version}', 'gateway.stopped': 'The gateway stopped', 'gateway.config-changed': 'The configuration changed', 'gateway.config-rejected': 'A configuration was rejected: {reason}',
    'gateway.clock-stepped': 'The clock was stepped by {offset}', 'gateway.erased': '{by} erased a person from {events} events', 'gateway.expired': 'Old events say no more', 'stub.erased': ' (its text was erased)', 'stub.expired': ' (its text has expired)', 'gateway.storage-low': 'Little room to store in, {free} left', 'gateway.storage-well': 'There is room to store in again', 'gateway.events-dropped': '{count} events could not be kept: {reason}',
    'gateway.data-quality': 'Data quality of {day}', 'gateway.maintenance': '{what}: maintenance {state} ({by})',
    'begun': 'begins, until {until}', 'changed': 'now until {until}', 'ended': 'ended',
    'command.executed': 'Order of {by}: {what} {action} {target}, {outcome}', 'command.refused': 'Order refused: {what} {action} {target} ({detail})', 'command.refused.many': '{times} more orders were refused',
    executed: 'executed', failed: 'failed', unsure: 'outcome unknown', denied: 'denied',
    'kind-ticket': 'tickets', 'kind-access': 'doors', 'kind-locker': 'lockers', 'kind-device': 'devices', 'kind-gateway': 'gateway', 'kind-command': 'orders', 'kind-readings': 'readings', 
    colon: ': ', unwatched: 'while unwatched',
  },
});

export const KINDS = ['ticket', 'access', 'locker', 'device', 'gateway', 'command', 'readings'];
/** `gatehouse.ticket.opened` → `ticket.opened` */
const typeOf = event => event.type.replace(/^gatehouse\./, '');
export const kindOf = event => typeOf(event).split('.')[0];
/** `doors/b3-entrance` → `b3-entrance` */
const thing = event => (event.subject || '').split('/').slice(1).join('/');

const TROUBLE = new Set(['access.denied', 'access.forced', 'access.held', 'access.tamper', 'locker.unexpected', 'locker.jammed', 'locker.held',
  'locker.overdue', 'device.offline', 'ticket.escalated', 'gateway.config-rejected', 'gateway.events-dropped', 'command.refused']);
const WELL = new Set(['ticket.cleared', 'ticket.verified', 'ticket.closed', 'ticket.resolved', 'device.online']);

/** How it is to be looked at: bad, warn, well or plain. */
export function tone(event) {
  const type = typeOf(event);
  if (type === 'ticket.opened' || type === 'ticket.reopened') return event.data?.level === 1 ? 'bad' : 'warn';
  if (type === 'gateway.storage-low') return event.data?.low ? 'bad' : 'well';
  if (type === 'device.degraded') return 'warn';
  return TROUBLE.has(type) ? 'bad' : WELL.has(type) ? 'well' : 'plain';
}

/** `[view, id]` of what it is about, or null. */
export function about(event) {
  if (kindOf(event) === 'ticket') return ['ticket', (event.subject || '').split('/').slice(1).join('/')];
  const [what, ...id] = (event.subject || '').split('/');
  return what === 'devices' ? ['device', id.join('/')] : null;
}

/** Its text was erased, or has expired: nothing is told of what is no longer there. */
function stub(event) {
  const kind = kindOf(event), word = typeOf(event), gone = t(event.erased ? 'stub.erased' : 'stub.expired');
  const isWhole = has(word) && !/\{(?!what\})/.test(t(word)) && thing(event);
  return (isWhole ? t(word, { what: thing(event) }) : [has('kind-' + kind) ? t('kind-' + kind) : word, thing(event)].filter(Boolean).join(t('colon'))) + gone;
}

export function sentence(event) {
  if (event.data === null) return stub(event);
  const type = typeOf(event), data = event.data || {};
  let word = type;
  if (type === 'gateway.storage-low' && !data.low) word = 'gateway.storage-well';
  if (type === 'command.refused' && data.times) word = 'command.refused.many';
  if (!has(word)) return `${type} ${thing(event)}`;
  const reason = data.reason && kindOf(event) === 'access' ? ` (${has(data.reason) ? t(data.reason) : said(data.reason)})` : '';
  return t(word, filled(event, data)) + reason;
}

function filled(event, data) {
  const bytes = n => (n >= 2 ** 30 ? value(Math.round(n / 2 ** 30 * 10) / 10, 'GiB') : value(Math.round(n / 2 ** 20), 'MiB'));
  const first = text => String(text ?? '').split('\n')[0].slice(0, 200);
  return {
    title: '', cell: '', action: '', detail: '', events: '', occurrences: '', version: '', day: '', 
    ...Object.fromEntries(Object.entries(data).map(([name, is]) => [name, is === null ? '' : is])),
    what: data.device && kindOf(event) === 'gateway' ? data.device : data.place || data.rule || data.door || thing(event),
    by: data.by ? said(data.by) : '—',
    why: data.why ? t('colon') + first(data.why) : '',
    reason: first(data.reason),
    points: (data.points || []).length,
    offset: data.offset === undefined ? '' : `${data.offset < 0 ? '−' : '+'}${span(data.offset * 1000)}`,
    free: data.free === undefined ? '' : bytes(data.free),
    count: data.count ?? '?',
    state: data.state ? t(data.state, { until: brief(data.until) }) : '',
    outcome: data.outcome ? t(data.outcome) : '',
    target: data.target ?? '',
    // What the gateway says of it is English.
    ...(kindOf(event) === 'command' && {
      action: data.action ? actionWord(data.action) : '',
      detail: [has('order.' + data.outcome) && t('order.' + data.outcome), data.detail].filter(Boolean).join(t('colon')),
    }),
  };
}
