// Draws on a uPlot's canvas what uPlot has no words for: tickets as shades, limits as lines with their words, words as lanes.

const FONT = 'system-ui, "Noto Sans CJK SC", sans-serif';

/** Colours as the style sheet has them now, light or dark. */
export function colours(element) {
  const style = getComputedStyle(element);
  const ink = name => style.getPropertyValue(`--plot-${name}`).trim() || style.color;
  return Object.fromEntries(['ink', 'faint', 'grid', 'line', 'band', 'filled', 'limit', 'episode', 'paper'].map(name => [name, ink(name)]));
}

function within(u, draw) {
  const { ctx, bbox: { left, top, width, height } } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  draw(ctx, { left, top, width, height, right: left + width, bottom: top + height, px: devicePixelRatio });
  ctx.restore();
}

const at = (u, x) => u.valToPos(x, 'x', true);

/** From opening to clearing, beneath everything. */
export function episodes(u, marks, now, ink) {
  within(u, (ctx, box) => {
    ctx.fillStyle = ink.episode;
    for (const { opened, cleared } of marks) {
      const [from, to] = [Math.max(at(u, opened), box.left), Math.min(at(u, cleared ?? now), box.right)];
      if (to >= from) ctx.fillRect(from, box.top, Math.max(to - from, box.px), box.height);
    }
  });
}

/** Before `x` there are only minutes or hours of readings. */
export function rolledUp(u, x, ink) {
  if (x === null) return;
  within(u, (ctx, box) => {
    ctx.strokeStyle = ink.faint;
    ctx.lineWidth = box.px;
    ctx.setLineDash([2 * box.px, 3 * box.px]);
    ctx.beginPath();
    ctx.moveTo(at(u, x), box.top);
    ctx.lineTo(at(u, x), box.bottom);
    ctx.stroke();
  });
}

/** `limits`: `{at, text}` with a number each. What lies outside is told at the edge it lies beyond. */
export function limits(u, levels, ink) {
  within(u, (ctx, box) => {
    const size = 12 * box.px;
    ctx.font = `${size}px ${FONT}`;
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    const taken = [];
    for (const { at: level, text } of levels) {
      const y = u.valToPos(level, 'y', true);
      const beyond = y < box.top ? '▲ ' : y > box.bottom ? '▼ ' : '';
      if (!beyond) line(ctx, box, y, ink);
      const wish = Math.min(Math.max(beyond || y - box.top > 2 * size ? y - size * 0.8 : y + size * 0.8, box.top + size), box.bottom - size);
      const place = free(taken, wish, size * 1.3, box);
      taken.push(place);
      label(ctx, beyond + text, box.right - 4 * box.px, place, size, ink);
    }
  });
}

function line(ctx, box, y, ink) {
  ctx.strokeStyle = ink.limit;
  ctx.lineWidth = 1.5 * box.px;
  ctx.setLineDash([6 * box.px, 4 * box.px]);
  ctx.beginPath();
  ctx.moveTo(box.left, y);
  ctx.lineTo(box.right, y);
  ctx.stroke();
}

// The nearest place at which no other text stands.
function free(taken, wish, apart, box) {
  for (let off = 0; off < box.height; off += apart / 2) {
    for (const y of [wish + off, wish - off]) {
      const clear = y > box.top + apart / 2 && y < box.bottom - apart / 2 && taken.every(other => Math.abs(other - y) >= apart);
      if (clear) return y;
    }
  }
  return wish;
}

function label(ctx, text, right, y, size, ink) {
  const wide = ctx.measureText(text).width + size / 2;
  ctx.globalAlpha = 0.82;
  ctx.fillStyle = ink.paper;
  ctx.fillRect(right - wide + size / 4, y - size * 0.65, wide, size * 1.3);
  ctx.globalAlpha = 1;
  ctx.fillStyle = ink.limit;
  ctx.fillText(text, right, y);
}

/** A lane for each word; a bucket is drawn in the lane of its least and of its greatest. A word holds until the next. */
export function lanes(u, columns, loud, until, ink) {
  const { x, min, max, patience, words } = columns;
  within(u, (ctx, box) => {
    const lane = word => u.valToPos(word, 'y', true);
    const high = Math.min(Math.abs(lane(0) - lane(1)) * 0.62, 34 * box.px);
    for (let n = 0; n < x.length; n++) {
      if (min[n] === null) continue;
      const next = n + 1 < x.length ? x[n + 1] : until;
      // On whole pixels: those of neighbours that touch would show their seams.
      const [from, to] = [Math.round(at(u, x[n])), Math.round(at(u, Math.min(next, x[n] + patience)))];
      if (to < box.left || from > box.right) continue;
      for (const word of new Set([min[n], max[n]])) {
        ctx.fillStyle = loud.has(words[word]) ? ink.limit : ink.line;
        ctx.fillRect(from, lane(word) - high / 2, Math.max(to - from, box.px), high);
      }
    }
  });
}
