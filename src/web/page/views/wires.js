// Lines with their load, and who reads the journal with what it still has to be told: rows of the overview.

import { el, mark, text } from '../dom.js';
import { add, age, number, t } from '../words.js';

add({
  zh: {
    lag: '待上报 {n} 条', 'lag-none': '已全部上报', busy: '占用 {n}%', 'per-second': '{n} 次/秒', errors: '错误', 'keeps-not': '轮询赶不上周期', 'set-aside': '{n} 条被中心拒收', seen: '上次 {age}',
    push: '推送', pull: '拉取', required: '必需', up: '正常', down: '中断', unknown: '未知', 'n-online': '{online}/{devices} 台在线', cycle: '一轮 {n} ms',
    'error-exception': '设备报错', 'error-timeout': '超时', 'error-wrong': '应答有误', 'error-broken': '连接断开',
  },
  en: {
    lag: '{n} to be told', 'lag-none': 'all told', busy: 'busy {n}%', 'per-second': '{n}/s', errors: 'errors', 'keeps-not': 'polling does not keep up', 'set-aside': '{n} refused by the centre', seen: 'seen {age}',
    push: 'push', pull: 'pull', required: 'required', up: 'up', down: 'down', unknown: 'unknown', 'n-online': '{online} of {devices} online', cycle: 'cycle {n} ms',
    'error-exception': 'exception', 'error-timeout': 'timeout', 'error-wrong': 'wrong answer', 'error-broken': 'broken off',
  },
});

export function makeLine() {
  const id = el('span', { class: 'id' }), chip = el('span', { class: 'chip' }), small = el('span', { class: 'small' }), load = el('span', { class: 'small' });
  const fill = svgBar(), error = el('span', { class: 'small why' });
  const node = el('li', { class: 'row line' }, id, chip, small, fill.node, load, error);
  return Object.assign(node, { parts: { id, chip, small, load, fill, error } });
}

export function tellLine(node, line) {
  const { id, chip, small, load, fill, error } = node.parts;
  mark(node, 'data-line', line.id);
  mark(node, 'data-state', line.state);
  text(id, line.id);
  text(chip, t(line.state));
  mark(chip, 'data-state', line.state === 'up' ? 'online' : line.state === 'down' ? 'offline' : 'unknown');
  text(small, [line.type, line.at, t('n-online', line)].filter(Boolean).join(' · '));
  fill.tell(line.busy);
  const errors = Object.entries(line.errors || {}).filter(([, n]) => n > 0)
    .map(([name, n]) => `${t('error-' + name).replace(/^error-/, '')} ${number(n)}`);
  text(load, [
    line.busy === null || line.busy === undefined ? null : t('busy', { n: Math.round(line.busy * 100) }),
    line.requests_per_second ? t('per-second', { n: number(line.requests_per_second, 1) }) : null,
    line.cycle_ms ? t('cycle', { n: number(line.cycle_ms, 0) }) : null,
    errors.length ? `${t('errors')}: ${errors.join(', ')}` : null].filter(Boolean).join(' · '));
  text(error, [line.keeps_up === false ? t('keeps-not') : null, line.error].filter(Boolean).join(' · '));
}

/** A share as a bar; `<meter>` looks different in each browser. */
function svgBar() {
  const inner = el('span', {});
  const node = el('span', { class: 'bar-share', 'aria-hidden': 'true' }, inner);
  return {
    node,
    tell(share) {
      node.hidden = share === null || share === undefined;
      inner.style.inlineSize = `${Math.round(Math.min(1, Math.max(0, share || 0)) * 100)}%`;
      mark(inner, 'data-tone', share > 0.9 ? 'bad' : share > 0.7 ? 'warn' : 'calm');
    },
  };
}

export function makeConsumer() {
  const name = el('span', { class: 'id' }), chip = el('span', { class: 'chip' }), small = el('span', { class: 'small' }), error = el('span', { class: 'small why' });
  return Object.assign(el('li', { class: 'row line' }, name, chip, small, error), { parts: { name, chip, small, error } });
}

export function tellConsumer(node, one) {
  if (!one) return;
  const { name, chip, small, error } = node.parts;
  node.consumer = one;
  mark(node, 'data-consumer', one.name);
  text(name, one.name);
  text(chip, one.lag ? t('lag', { n: number(one.lag) }) : t('lag-none'));
  mark(chip, 'data-state', one.error ? 'offline' : one.lag > 100 ? 'degraded' : 'online');
  text(small, [t(one.kind), one.required ? t('required') : null, one.last_seen ? t('seen', { age: age(one.last_seen) }) : null].filter(Boolean).join(' · '));
  const aside = (one.set_aside || []).length;
  text(error, [one.error, aside ? t('set-aside', { n: aside }) : null].filter(Boolean).join(' · '));
}
