// Dialogs: the browser's own, which keep the focus inside and close with Escape.

import { fill, h, message } from './lib/dom.js';

/** Shows one with a button to close it; answers the dialog. */
export function open(title, children) {
  const dialog = h('dialog', { 'aria-label': title, onclose: () => dialog.remove() },
    h('h1', {}, title), ...children,
    h('div', { class: 'row' }, h('button', { onclick: () => dialog.close() }, 'Close')));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks something: `fields` stand in the dialog, `act` is done when it is confirmed. What that throws is shown, and the dialog
 * stays. Enter confirms at once, unless it is about something that cannot be undone.
 */
export function confirm({ title, fields = [], action, danger = false, act }) {
  const told = h('div', {});
  const button = h('button', { class: danger ? 'danger' : 'primary', type: 'submit', autofocus: !danger }, action);
  const dialog = h('dialog', { 'aria-label': title, onclose: () => dialog.remove() },
    h('form', {
      method: 'dialog',
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        try {
          await act();
          dialog.close();
        } catch (error) {
          fill(told, message('bad', error.message));
          button.disabled = false;
        }
      },
    }, h('h1', {}, title), ...fields, told,
    h('div', { class: 'row' }, h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), button)));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
