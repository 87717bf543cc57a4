// What a plot says in words: the limits, what is under the pointer, and a sentence for those who do not see it.

import { add, locale, said, t } from '../words.js';
import { columnAt, decimals, seconds, summary } from './rows.js';

add({
  zh: { 'plot.keys': '曲线：{point}。方向键平移，加减键缩放，Shift 加方向键逐点读数，0 键复原', 'plot.closer': '放大', 'plot.wider': '缩小',
    'plot.earlier': '更早', 'plot.later': '更晚', 'plot.reset': '复原', 'plot.least': '最小', 'plot.mean': '记录均值', 'plot.greatest': '最大',
    'plot.last': '最后', 'plot.times': '{n} 条记录', 'plot.filled': '未读到，插值 {value}', 'plot.none': '此时段没有读数', 'plot.unread': '未读到',
    'plot.to': '至', 'plot.words': '出现过', 'plot.rolled': '{at} 之前只保留汇总', 'plot.opened': '工单打开', 'plot.cleared': '告警恢复',
    'plot.gathered': '{n} 张工单，放大查看', 'plot.above': '高于 {at}', 'plot.below': '低于 {at}', 'plot.equals': '等于 {at}',
    'plot.not_equals': '不等于 {at}', 'plot.inside': '区间界限 {at}', 'plot.hour': '1 小时', 'plot.day': '1 天', 'plot.week': '1 周', 'plot.month': '30 天',
    'plot.span': '时间范围', 'plot.loading': '正在读取…', 'plot.hint': '拖动选取放大；手指平移、双指缩放' },
  en: { 'plot.keys': 'Plot of {point}. Arrows move, plus and minus zoom, Shift with an arrow reads on, 0 resets', 'plot.closer': 'Zoom in', 'plot.wider': 'Zoom out',
    'plot.earlier': 'Earlier', 'plot.later': 'Later', 'plot.reset': 'Reset', 'plot.least': 'least', 'plot.mean': 'mean of records', 'plot.greatest': 'greatest',
    'plot.last': 'last', 'plot.times': '{n} recorded readings', 'plot.filled': 'not read, filled in: {value}', 'plot.none': 'Nothing was read in this time', 'plot.unread': 'not read',
    'plot.to': 'to', 'plot.words': 'said', 'plot.rolled': 'only summaries are kept before {at}', 'plot.opened': 'ticket opened', 'plot.cleared': 'condition gone',
    'plot.gathered': '{n} tickets; zoom in', 'plot.above': 'above {at}', 'plot.below': 'below {at}', 'plot.equals': 'equals {at}',
    'plot.not_equals': 'other than {at}', 'plot.inside': 'bound {at}', 'plot.hour': 'Hour', 'plot.day': 'Day', 'plot.week': 'Week', 'plot.month': '30 days',
    'plot.span': 'Span of time', 'plot.loading': 'Loading…', 'plot.hint': 'Drag to zoom in; move by a finger, zoom by two' },
});

/** `低于 200 kPa` */
export function limitText({ kind, at }, unit) {
  return t(`plot.${kind}`, { at: typeof at === 'number' ? `${at}${unit ? ' ' + unit : ''}` : said(String(at)) });
}

/** The unit stands once, behind the last of them. */
function valued({ unit, columns }, more = 0) {
  const digits = Math.min(decimals(columns) + more, 3);
  const format = new Intl.NumberFormat(locale(), { maximumFractionDigits: digits });
  const bare = value => (value === null ? '—' : format.format(value));
  return { bare, whole: value => bare(value) + (unit ? `\u00a0${unit}` : '') };
}

/** At a time, or just before it. */
export function readAt(self, x) {
  const { columns: all, words } = self;
  const n = columnAt(all, x);
  const time = words.moment(n < 0 ? x : all.x[n]);
  if (n < 0) return `${time} · ${t('plot.unread')}`;
  const { bare, whole } = valued(self);
  const mean = valued(self, 1).bare;
  if (all.filled[n] !== null && !all.count[n]) return `${time} · ${t('plot.filled', { value: whole(all.filled[n]) })}`;
  if (all.min[n] === null) return `${time} · ${t('plot.unread')}`;
  const times = t('plot.times', { n: all.count[n] });
  if (all.words) return [time, [...new Set([all.min[n], all.max[n]])].map(word => said(all.words[word])).join(' / '), times].join(' · ');
  if (all.count[n] === 1) return `${time} · ${whole(all.mean[n])}`;
  return [time, `${t('plot.least')}\u00a0${bare(all.min[n])}`, `${t('plot.mean')}\u00a0${mean(all.mean[n])}`,
    `${t('plot.greatest')}\u00a0${whole(all.max[n])}`, times].join(' · ');
}

/** What the picture says, for those who do not see it. */
export function sentence(self) {
  const { columns: all, view, words, rolledUpTo } = self;
  const span = `${words.exact(view[0])} ${t('plot.to')} ${words.exact(view[1])}`;
  const sum = summary(all, ...view);
  if (!sum) return `${span}: ${t(self.waiting ? 'plot.loading' : 'plot.none')}`;
  const { bare, whole } = valued(self);
  const last = sum.last === null ? null : all.words ? said(sum.last) : whole(sum.last);
  const parts = all.words
    ? [`${t('plot.words')} ${[...sum.words].map(said).join(' / ')}`]
    : [`${t('plot.least')}\u00a0${bare(sum.least)}`, `${t('plot.greatest')}\u00a0${whole(sum.greatest)}`];
  if (last !== null) parts.push(`${t('plot.last')}\u00a0${last}`);
  parts.push(t('plot.times', { n: new Intl.NumberFormat(locale()).format(sum.count) }));
  if (rolledUpTo && seconds(rolledUpTo) > view[0]) parts.push(t('plot.rolled', { at: words.exact(seconds(rolledUpTo)) }));
  return `${span}: ${parts.join(' · ')}`;
}
