// Words in both languages, and times in the gateway's timezone. A view brings its own with add().

import { now } from './api.js';

const LOCALES = { zh: 'zh-CN', en: 'en-GB' };
const table = { zh: Object.create(null), en: Object.create(null) };
// What devices say, and why there is no value; English stays as it is in profiles and rules.
const devices = { zh: Object.create(null), en: Object.create(null) };
let language = kept('lang') || ((navigator.language || 'zh').startsWith('zh') ? 'zh' : 'en');
let zone, formats = {};

/** A browser that keeps nothing (private mode) is no reason to show nothing. */
export function kept(name) { try { return localStorage.getItem(name); } catch { return null; } }
export function keep(name, value) { try { localStorage.setItem(name, value); } catch { /* as above */ } }

export const lang = () => language;
export const locale = () => LOCALES[language];
export function speak(which) { language = which; formats = {}; keep('lang', which); }
export function setZone(name) { if (name && name !== zone) { zone = name; formats = {}; } }
export const timezone = () => zone;

/** add({zh: {word: '…'}, en: {word: '…'}}); `{n}` in a text is filled by t(word, {n}). */
export function add(words) { for (const one of ['zh', 'en']) Object.assign(table[one], words[one]); }
function addSaid(words) { for (const one of ['zh', 'en']) Object.assign(devices[one], words[one]); }

export function t(word, fill) {
  const text = table[language][word] ?? word;
  return fill ? text.replace(/\{(\w+)\}/g, (all, name) => fill[name] ?? all) : text;
}
export const said = word => devices[language][word] ?? String(word);
export const has = word => word in table[language];

function format(name, options) {
  const one = { hourCycle: 'h23', ...options };
  try { return formats[name] ??= new Intl.DateTimeFormat(locale(), { ...one, timeZone: zone }); }
  // A zone that this browser does not know: its own, rather than nothing.
  catch { return formats[name] ??= new Intl.DateTimeFormat(locale(), one); }
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
const DAY = { month: '2-digit', day: '2-digit' };

/** 11:02:33 today, 11-21 11:02 otherwise; in the gateway's timezone. */
export function when(at) {
  if (!at) return '';
  const date = new Date(at);
  return day(date) === day(now()) ? format('clock', CLOCK).format(date) : stamp(at);
}
/** Always with its day. */
export function stamp(at) {
  return at ? format('stamp', { ...DAY, hour: '2-digit', minute: '2-digit' }).format(new Date(at)) : '';
}
/** 11:02 today, 11-21 11:02 otherwise. */
export function brief(at) {
  return at && day(at) === day(now()) ? format('brief', { hour: '2-digit', minute: '2-digit' }).format(new Date(at)) : stamp(at);
}
/** Day and second: for a story. */
export function moment(at) {
  return at ? format('moment', { ...DAY, ...CLOCK }).format(new Date(at)) : '';
}
/** With the year, seconds and zone: for a title. */
export function fully(at) {
  return at ? format('fully', { year: 'numeric', ...DAY, ...CLOCK, timeZoneName: 'short' }).format(new Date(at)) : '';
}
export const day = at => format('day', { year: 'numeric', ...DAY }).format(new Date(at));

/** 3 s · 12 min · 1.9 h · 3 d; never more than it is, since somebody may count on what is left. */
export function span(milliseconds) {
  const seconds = Math.floor(Math.abs(milliseconds) / 1000);
  const part = unit => { const n = seconds / unit; return n < 10 ? Math.floor(n * 10) / 10 : Math.floor(n); };
  const [n, unit] = seconds < 120 ? [seconds, 'second'] : seconds < 5400 ? [Math.floor(seconds / 60), 'minute']
    : seconds < 48 * 3600 ? [part(3600), 'hour'] : [part(86400), 'day'];
  return t('span-' + unit, { n });
}
export const age = at => (at ? t('ago', { span: span(now() - Date.parse(at)) }) : '');
/** Milliseconds until `at` by the gateway's clock; below 0 it has passed. */
export const left = at => Date.parse(at) - now();

export function number(value, digits) {
  return value.toLocaleString(locale(), { maximumFractionDigits: digits ?? 3, useGrouping: Math.abs(value) >= 1e5 });
}

/** `"200 kPa"`, a word that a device says, or a dash where there is nothing. */
export function value(what, unit) {
  if (what === null || what === undefined) return '—';
  const shown = typeof what === 'number' ? number(what, 6) : said(String(what));
  return unit ? `${shown} ${unit}` : shown;
}

add({
  zh: {
    skip: '跳到正文', navigation: '导航', home: '总览', tickets: '工单', doors: '门与柜', heat: '热力图', events: '事件',
    loading: '正在读取…', 'no-answer': '网关没有回应，请检查网络后重试', 'no-file': '页面没有读到：网关没有回应，或刚换了版本；请稍后刷新', logout: '退出', other: 'English', all: '全部',
    ready: '正常', degraded: '降级', unready: '未就绪', waiting: '连接中', live: '实时', lost: '连接中断',
    'lost-long': '与网关的连接中断，以下是 {span}前的数据，正在重新连接…', 'lost-never': '连接不上网关，正在重试…', full: '网关上打开的页面太多，稍后重试…',
    'no-view': '此页面在这个版本中不存在：{why}', 'not-read': '读取失败：{why}',
    'role-technician': '技术员', 'role-viewer': '只读', 'role-central': '中心',
    'span-second': '{n} 秒', 'span-minute': '{n} 分钟', 'span-hour': '{n} 小时', 'span-day': '{n} 天', ago: '{span}前',
    'state-online': '在线', 'state-degraded': '不稳定', 'state-offline': '离线', 'state-unknown': '未知', 'state-maintenance': '维护中',
    good: '正常', uncertain: '存疑', bad: '无效', said: '原始值', 'last-good': '上次有效', until: '至',
    open: '待处理', acknowledged: '已确认', in_progress: '处理中', resolved: '已处理', closed: '已关闭',
    acknowledge: '确认', start: '开始处理', resolve: '处理完成', close: '关闭',
    level1: '紧急', level2: '重要', level3: '一般', holds: '仍在告警', cleared: '已恢复', details: '详情',
    immediate: '立即维修', planned: '计划维护', periodic: '定期保养',
    contact: '联系', on_site: '到场', follow_up: '回访', due: '还剩 {span}', missed: '超时 {span}',
    place: '位置', device: '设备', point: '测点', lines: '线路', 'urgent-new': '新的紧急工单：{title}', 'no-place': '未注明位置', 'n-unrepaired': '{n} 张待修复', 'on-time': '按时', 'too-late': '晚了 {span}',
  },
  en: {
    skip: 'Skip to content', navigation: 'Navigation', home: 'Overview', tickets: 'Tickets', doors: 'Doors', heat: 'Heat map', events: 'Events',
    loading: 'Reading…', 'no-answer': 'The gateway does not answer; look at the network and try again', 'no-file': 'This page could not be fetched: the gateway does not answer, or has another version now; reload in a while', logout: 'Log out', other: '中文', all: 'All',
    ready: 'ready', degraded: 'degraded', unready: 'not ready', waiting: 'connecting', live: 'live', lost: 'connection lost',
    'lost-long': 'The connection to the gateway is lost; this is how it was {span} ago. Connecting again…', 'lost-never': 'The gateway cannot be reached. Trying again…', full: 'Too many pages are open at this gateway. Trying again…',
    'no-view': 'This version has no such page: {why}', 'not-read': 'It could not be read: {why}',
    'role-technician': 'technician', 'role-viewer': 'read only', 'role-central': 'centre',
    'span-second': '{n} s', 'span-minute': '{n} min', 'span-hour': '{n} h', 'span-day': '{n} d', ago: '{span} ago',
    'state-online': 'online', 'state-degraded': 'unsteady', 'state-offline': 'offline', 'state-unknown': 'unknown', 'state-maintenance': 'maintenance',
    good: 'good', uncertain: 'uncertain', bad: 'bad', said: 'said', 'last-good': 'last good', until: 'until',
    open: 'open', acknowledged: 'acknowledged', in_progress: 'in progress', resolved: 'resolved', closed: 'closed',
    acknowledge: 'Acknowledge', start: 'Start work', resolve: 'Resolved', close: 'Close',
    level1: 'urgent', level2: 'important', level3: 'ordinary', holds: 'still wrong', cleared: 'back to normal', details: 'Details',
    immediate: 'repair now', planned: 'planned maintenance', periodic: 'periodic upkeep',
    contact: 'contact', on_site: 'on site', follow_up: 'follow-up', due: '{span} left', missed: '{span} over',
    place: 'Place', device: 'Device', point: 'Point', lines: 'Lines', 'urgent-new': 'New urgent ticket: {title}', 'no-place': 'no place given', 'n-unrepaired': '{n} to be repaired', 'on-time': 'in time', 'too-late': '{span} late',
  },
});

addSaid({
  zh: {
    open: '开', closed: '关', on: '开启', off: '关闭', yes: '是', no: '否', true: '是', false: '否', running: '运行', stopped: '停止', fault: '故障',
    wet: '有水', dry: '干燥', alarm: '报警', clear: '正常', present: '有物', absent: '无物', moving: '有人', still: '无人',
    online: '在线', failed: '失效', granted: '允许进入', denied: '拒绝进入', opened: '打开', forced: '强行打开', held: '未关', exit: '出门按钮', tamper: '防拆报警',
    card: '刷卡', keypad: '按键', deposited: '已存件', collected: '已取件', unexpected: '异常打开', jammed: '卡住', overdue: '超期',
    plumbing: '水暖', electrical: '电工', hvac: '暖通', lift: '电梯', access: '门禁', it: '弱电', security: '保安', lockers: '快递柜', cleaning: '保洁',
    centre: '中心', gateway: '网关', api: '接口', configuration: '配置变更',
    'not-yet': '尚未读到', 'out-of-range': '超出量程', 'device-error': '设备报错', 'no-answer': '无应答', 'wire-down': '线路中断',
    offline: '离线', ambiguous: '来源冲突', retained: '保留消息', 'sensor-fault': '传感器故障', unreadable: '无法解析', spike: '尖峰', 'too-fast': '变化过快', stuck: '读数卡死',
  },
  en: {},
});
