// A labelled field, with a place beside it where it is asked for.

import { el } from './dom.js';

/** `value()` is what stands in it; where nothing does and `wanted` says that something must, null, after it has said so. */
export function field(input, label, wanted) {
  const wrong = el('span', { class: 'wrong', id: input.id + '-wrong', role: 'alert' });
  input.setAttribute('aria-describedby', wrong.id);
  input.addEventListener('input', () => { wrong.textContent = ''; input.removeAttribute('aria-invalid'); });
  return {
    node: el('div', { class: 'field' }, el('label', { for: input.id }, label), input, wrong),
    value() {
      const is = input.value.trim();
      if (is || !wanted) return is;
      wrong.textContent = wanted;
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      return null;
    },
  };
}
