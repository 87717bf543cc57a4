// The chart of a ticket: the picture that the centre has too, and on demand a plot to look closer at.

import { get, now } from '../api.js';
import { el, text } from '../dom.js';
import { section } from '../show.js';
import { add, lang, t } from '../words.js';

add({
  zh: { chart: '曲线', 'chart-of': '越限前后 {point} 的曲线', 'no-chart': '暂无曲线', closer: '放大查看' },
  en: { chart: 'Chart', 'chart-of': '{point} around the breach', 'no-chart': 'There is no chart of it', closer: 'Look closer' },
});

const AROUND = 3600e3;
const BUCKETS = 600;
// As wide as there is room for it, so that its letters are as large as those around it.
const WIDTHS = [320, 1600];

/** `tell(ticket)` keeps it true; `end()` when the view is left. */
export function chart(path) {
  const picture = el('img', { alt: '', width: 800, height: 320, data: { hook: 'chart' } });
  const none = el('p', { class: 'empty', role: 'status' });
  // By itself it is as large as one likes.
  const alone = el('a', { target: '_blank', rel: 'noopener' }, picture);
  const place = el('div', { class: 'chart' }, alone);
  const closer = el('button', { type: 'button', data: { action: 'closer' }, on: { click: look } }, t('closer'));
  const node = section('ticket-chart', t('chart'), place, none, el('div', { class: 'acts' }, closer));
  let ticket = null, drawn = null, plotted = null, asked = 0;
  picture.addEventListener('error', () => { alone.hidden = true; text(none, plotted ? '' : t('no-chart')); });
  picture.addEventListener('load', () => { alone.hidden = !!plotted; text(none, ''); });

  async function look() {
    closer.disabled = true;
    try {
      const [{ plot }, { limitsOf }] = await Promise.all([import('../chart.js'), import('../chart/rows.js')]);
      const from = Date.parse(ticket.since) - AROUND;
      const to = Math.min(now(), Date.parse(ticket.cleared_at || new Date(now()).toISOString()) + AROUND);
      const kept = await readings(from, to);
      const limits = limitsOf([{ id: ticket.rule, points: [ticket.point], condition: ticket.limit, level: ticket.level }], ticket.point);
      plotted = plot(place, { point: ticket.point, unit: ticket.unit || '', ...kept, limits, marks: [ticket], from, to, onZoom: nearer });
      alone.hidden = closer.hidden = true;
      text(none, '');
    } catch (error) { text(none, error.message); }
    closer.disabled = false;
  }

  /** The newest wish wins. */
  async function nearer(from, to) {
    const turn = ++asked;
    try {
      const kept = await readings(from, to);
      if (turn === asked) plotted.set(kept);
    } catch (error) { if (turn === asked) plotted.say(error.message); }
  }

  async function readings(from, to) {
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), buckets: BUCKETS });
    const answer = await get(`points/${encodeURIComponent(ticket.point)}/history?${query}`);
    return { rows: answer.buckets, rolledUpTo: answer.rolled_up_to ?? null };
  }

  return {
    node,
    tell(told) {
      ticket = told;
      node.hidden = !told.point;
      if (!told.point || drawn === told.revision) return;
      drawn = told.revision;
      picture.alt = t('chart-of', { point: told.point });
      requestAnimationFrame(() => {
        const width = Math.min(Math.max(place.clientWidth, WIDTHS[0]), WIDTHS[1]);
        picture.src = alone.href = `/api/v1/${path}/chart.svg?` + new URLSearchParams({ revision: told.revision, width, locale: lang() === 'zh' ? 'zh-CN' : 'en' });
      });
    },
    end() { if (plotted) plotted.end(); },
  };
}
