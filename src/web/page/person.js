// Who acts: a name, asked once and kept on this device, that stands in the ticket's story.

import { el } from './dom.js';
import { field as asked } from './field.js';
import { add, keep, kept, t } from './words.js';

add({
  zh: { 'your-name': '您的姓名', 'name-first': '请先填写姓名' },
  en: { 'your-name': 'Your name', 'name-first': 'Please give your name first' },
});

export const name = () => (kept('by') || '').trim();
const NAME_MAX = 100;

/** A field for the name; `value()` is the name, or null after it has asked for it. */
export function field(id) {
  const input = el('input', { id, type: 'text', autocomplete: 'name', maxlength: NAME_MAX, value: name(), data: { field: 'by' } });
  input.addEventListener('input', () => keep('by', input.value.trim()));
  return asked(input, t('your-name'), t('name-first'));
}
