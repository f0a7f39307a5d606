// Logging in: a token, or a kubeconfig with one.

import { fill, h, message } from './lib/dom.js';
import { tokenOf } from './lib/kubeconfig.js';

/** Shows the form; `enter` takes the token, and throws when it is no good. */
export function showLogin(root, why, enter) {
  document.title = 'Log in · Knarr dashboard';
  const told = h('div', {}, why ? message('warn', why) : null);
  const token = h('input', { type: 'password', id: 'token', autocomplete: 'off', spellcheck: 'false', required: true });
  const file = h('input', { type: 'file', id: 'kubeconfig' });
  const button = h('button', { class: 'primary', type: 'submit' }, 'Log in');
  const attempt = async (text) => {
    button.disabled = true;
    fill(told, message('good', 'Asking the API server…'));
    try {
      await enter(text.trim());
    } catch (error) {
      fill(told, message('bad', error.message));
      button.disabled = false;
      token.focus();
    }
  };
  file.addEventListener('change', async () => {
    try {
      await attempt(tokenOf(await file.files[0].text()));
    } catch (error) {
      fill(told, message('bad', error.message));
    }
    file.value = '';
  });
  fill(root, h('div', { class: 'login' },
    h('div', { class: 'brand' }, h('img', { src: 'icon.svg', alt: '' }), 'Knarr dashboard'),
    h('form', { onsubmit: (event) => { event.preventDefault(); attempt(token.value); } },
      h('h1', {}, 'Log in'),
      told,
      h('label', { class: 'field' }, h('span', {}, 'Token'), token),
      button,
      h('label', { class: 'field' }, h('span', {}, 'or a kubeconfig with a token (it is read by your browser and sent nowhere)'), file)),
    h('p', { class: 'dim' }, 'The token stays in this tab until you close it or log out. You may do here what it may do. One for the administrator:'),
    h('pre', {}, 'knarr kubectl create token dashboard-admin --namespace kube-system')));
  token.focus();
}
