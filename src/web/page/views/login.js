// The token, asked once; the session is a cookie that no script can read.

import { login } from '../api.js';
import { el } from '../dom.js';
import { heading } from '../show.js';
import { add, t } from '../words.js';

add({
  zh: { login: '登录', token: '访问令牌', 'token-why': '令牌在网关配置的 [[api.token]] 中，可向管理员索取。', 'token-wrong': '令牌不正确' },
  en: { login: 'Log in', token: 'Access token', 'token-why': 'Tokens are the [[api.token]] of the gateway’s configuration; ask whoever keeps it.', 'token-wrong': 'This is no token of this gateway' },
});

export async function show(root, args) {
  const input = el('input', { id: 'token', type: 'password', autocomplete: 'current-password', required: true, spellcheck: 'false' });
  const wrong = el('p', { class: 'wrong', role: 'alert', id: 'token-wrong' });
  const button = el('button', { type: 'submit', class: 'first', data: { action: 'login' } }, t('login'));
  input.setAttribute('aria-describedby', 'token-why token-wrong');
  const form = el('form', { class: 'card login' }, heading(t('login')),
    el('div', { class: 'field' }, el('label', { for: 'token' }, t('token')), input),
    el('p', { class: 'small', id: 'token-why' }, t('token-why')), wrong, button);
  form.addEventListener('submit', async event => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = '';
    try {
      await login(input.value.trim());
      args.entered();
    } catch (error) {
      wrong.textContent = error.status === 401 ? t('token-wrong') : error.message;
      button.disabled = false;
      input.select();
    }
  });
  root.replaceChildren(form);
  input.focus();
  return { live() {}, end() {} };
}
