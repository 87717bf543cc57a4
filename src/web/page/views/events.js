// Events as they come: the newest first, by kind, held still when somebody reads.

import { calmly, el, mark, rows, text } from '../dom.js';
import { about, KINDS, kindOf, sentence, tone } from '../sentences.js';
import { heading, time } from '../show.js';
import { add, t } from '../words.js';

add({
  zh: { pause: '暂停', go: '继续', held: '已暂停，有 {n} 条新事件', kinds: '显示', raw: 'JSON', 'no-events': '还没有事件', 'at-most': '最近 {n} 条' },
  en: { pause: 'Pause', go: 'Go on', held: 'Held; {n} new events', kinds: 'Show', raw: 'JSON', 'no-events': 'No events yet', 'at-most': 'the last {n}' },
});

const ROWS_MAX = 500;

export async function show(root, args, site) {
  const chosen = new Set((args.query.get('kinds') || KINDS.join()).split(',').filter(kind => KINDS.includes(kind)));
  // What is shown while it is held: the list as it was.
  let held = null;

  const list = el('ol', { class: 'events card', data: { hook: 'events' } });
  const told = el('p', { class: 'small', role: 'status', data: { hook: 'held' } });
  const pause = el('button', { type: 'button', data: { action: 'pause' }, 'aria-pressed': 'false', on: { click: hold } }, t('pause'));
  const kinds = el('fieldset', { class: 'checks' }, el('legend', {}, t('kinds')), ...KINDS.map(kind => el('label', {},
    el('input', { type: 'checkbox', checked: chosen.has(kind), data: { kind }, on: { change: event => choose(kind, event.target.checked) } }), t('kind-' + kind))));
  root.append(heading(t('events')), kinds, el('div', { class: 'acts' }, pause, told), list);

  function choose(kind, on) {
    if (on) chosen.add(kind); else chosen.delete(kind);
    const query = chosen.size === KINDS.length ? '' : '?kinds=' + [...chosen].join();
    history.replaceState(null, '', '#/events' + query);
    draw();
  }

  function hold() {
    held = held ? null : site.events.slice();
    mark(pause, 'aria-pressed', String(!!held));
    text(pause, t(held ? 'go' : 'pause'));
    draw();
  }

  function draw() {
    const shown = (held || site.events).filter(event => chosen.has(kindOf(event))).slice(0, ROWS_MAX);
    rows(list, shown, event => event.id, makeRow);
    list.hidden = !shown.length;
    const fresh = held ? site.events.findIndex(event => event.id === held[0]?.id) : 0;
    text(told, held ? t('held', { n: fresh < 0 ? site.events.length : fresh }) : shown.length ? t('at-most', { n: shown.length }) : t('no-events'));
  }

  const soon = calmly(draw, 200);
  draw();
  return {
    live(change) { if (change.kind === 'journal' || change.kind === 'all') soon(); },
    end() { soon.stop(); },
  };
}

function makeRow(event) {
  const to = about(event);
  const words = sentence(event);
  const what = el('span', { class: 'what' }, to ? el('a', { href: `#/${to[0]}/${encodeURIComponent(to[1])}` }, words) : words);
  const raw = el('button', { type: 'button', class: 'plain', 'aria-expanded': 'false', 'aria-label': `${t('raw')}: ${words}` }, '{ }');
  const row = el('li', { data: { event: event.id, type: event.type, tone: tone(event) } }, time(event.time), what, raw);
  raw.addEventListener('click', () => {
    const open = row.querySelector('pre');
    if (open) open.remove(); else row.append(el('pre', { tabindex: 0 }, JSON.stringify(event, null, 2)));
    mark(raw, 'aria-expanded', String(!open));
  });
  return row;
}
