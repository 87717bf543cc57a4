// What hands do to a plot: wheel, pinch, drag, keys. Each becomes a wished span of time; who owns the plot bounds it.

const STEP = 0.2;
const CLOSER = 0.6;

/** The span that is `by` times as wide around `at`, a share of the width. */
export const scaled = ([from, to], by, at = 0.5) => {
  const middle = from + (to - from) * at;
  return [middle - (middle - from) * by, middle + (to - middle) * by];
};
export const shifted = ([from, to], share) => [from + (to - from) * share, to + (to - from) * share];

/** The span within `least` seconds and `most`, and not after `end`. */
export function bounded([from, to], least, most, end) {
  const width = Math.min(Math.max(to - from, least), most);
  const middle = (from + to) / 2;
  const last = Math.min(middle + width / 2, end);
  return [last - width, last];
}

/** Keys and buttons say the same; null for a key that is none of ours. */
export function wish(word, span) {
  switch (word) {
    case '+': case '=': case 'closer': return scaled(span, CLOSER);
    case '-': case '_': case 'wider': return scaled(span, 1 / CLOSER);
    case 'ArrowLeft': case 'earlier': return shifted(span, -STEP);
    case 'ArrowRight': case 'later': return shifted(span, STEP);
    default: return null;
  }
}

/**
 * Listens on `over`, the drawn field. `span()` is what is shown, `go(span)` wishes another. A plain drag of the mouse
 * is left to who selects; with Shift, or by a finger, it moves the plot. The wheel zooms where the plot has the focus
 * or Ctrl is held: a page must scroll on past a plot.
 */
export function hands(over, { span, go, focused }) {
  const fingers = new Map();
  const share = x => {
    const box = over.getBoundingClientRect();
    return box.width ? (x - box.left) / box.width : 0.5;
  };
  over.addEventListener('wheel', event => {
    if (!event.ctrlKey && !focused()) return;
    event.preventDefault();
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (sideways) go(shifted(span(), Math.sign(event.deltaX) * STEP / 4));
    else go(scaled(span(), event.deltaY < 0 ? 0.8 : 1.25, share(event.clientX)));
  }, { passive: false });

  const places = () => [...fingers.values()].map(finger => share(finger.now)).sort((a, b) => a - b);
  let held = null; // what was shown, and where the fingers were, when their number last changed
  const hold = () => { held = fingers.size ? { span: span(), at: places() } : null; };
  over.addEventListener('pointerdown', event => {
    const moves = event.pointerType === 'touch' || event.shiftKey;
    if (!moves || fingers.size === 2) return;
    if (event.shiftKey) over.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { now: event.clientX });
    hold();
  });
  over.addEventListener('pointermove', event => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.now = event.clientX;
    go(carried(held, places()));
  });
  for (const kind of ['pointerup', 'pointercancel', 'pointerleave']) {
    over.addEventListener(kind, event => { if (fingers.delete(event.pointerId)) hold(); });
  }
}

/** What was under the fingers stays under them. */
export function carried({ span: [from, to], at }, now) {
  const width = to - from;
  if (at.length < 2 || now.length < 2) return shifted([from, to], at[0] - now[0]);
  const apart = Math.max(now[1] - now[0], 0.02);
  const wide = width * Math.max(at[1] - at[0], 0.02) / apart;
  const start = from + width * at[0] - wide * now[0];
  return [start, start + wide];
}
