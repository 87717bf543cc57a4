// Elements out of text: what devices and people wrote never becomes markup.

/** Milliseconds for which nobody means what has just come to stand there: the second click of a double click was for what stood there before. */
export const UNMEANT_MS = 400;

const SVG = 'http://www.w3.org/2000/svg';

/** el('p', {class: 'small', data: {point: id}, on: {click}}, 'text', node, null) */
export function el(tag, props, ...kids) {
  return filled(document.createElement(tag), props, kids);
}

export function svg(tag, props, ...kids) {
  return filled(document.createElementNS(SVG, tag), props, kids);
}

function filled(node, props, kids) {
  for (const [name, value] of Object.entries(props || {})) set(node, name, value);
  node.append(...kids.flat().filter(kid => kid !== null && kid !== undefined && kid !== false));
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (name === 'data') for (const [key, word] of Object.entries(value)) { if (word !== null && word !== undefined) node.dataset[key] = word; }
  else if (name === 'on') for (const [what, does] of Object.entries(value)) node.addEventListener(what, does);
  else if (name === 'value' || name === 'checked') node[name] = value;
  else node.setAttribute(name, value === true ? '' : value);
}

/** Only where it differs: nothing is drawn again, and no reader's place is lost. */
export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export function mark(node, name, value) {
  const word = value === null || value === undefined || value === false ? null : value === true ? '' : String(value);
  if (node.getAttribute(name) === word) return;
  if (word === null) node.removeAttribute(name); else node.setAttribute(name, word);
}

/**
 * Makes the children of `root` the rows of `items`, in their order: those that are there stay the same elements, so that
 * focus, selection and what is unfolded outlive an update. `make(item)` makes an element, `tell(element, item)` fills it.
 */
export function rows(root, items, key, make, tell) {
  const kept = new Map();
  for (const node of root.children) kept.set(node.rowKey, node);
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  let place = root.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let node = kept.get(name);
    kept.delete(name);
    if (!node) { node = make(item); node.rowKey = name; }
    if (tell) tell(node, item);
    if (node === place) place = place.nextElementSibling;
    else root.insertBefore(node, place);
  }
  for (const node of kept.values()) node.remove();
  // An element that is moved loses the focus.
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/** At most once a frame, however often it is called. */
export function soon(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; work(); });
  };
}

/** At most once in `pause` milliseconds, and once after the last call. */
export function calmly(work, pause) {
  let timer = null, last = 0;
  const run = () => { timer = null; last = performance.now(); work(); };
  const call = () => { if (timer === null) timer = setTimeout(run, Math.max(0, last + pause - performance.now())); };
  call.stop = () => { clearTimeout(timer); timer = null; };
  return call;
}
