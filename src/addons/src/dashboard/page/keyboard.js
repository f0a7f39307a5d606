// Keys. One letter does something wherever nobody is writing; `?` tells what.

import { h } from './lib/dom.js';
import { open } from './dialog.js';

const SHORTCUTS = [
  ['g', 'go to a resource'],
  ['n', 'choose the namespace'],
  ['/', 'filter the list'],
  ['j k ↓ ↑', 'next, previous row'],
  ['Home End', 'first, last row'],
  ['Enter', 'open the row'],
  ['c', 'create from YAML'],
  ['e', 'edit the object'],
  ['y', 'its YAML'],
  ['l', 'its logs'],
  ['t', 'a terminal in it'],
  ['m', 'what it uses'],
  ['s', 'scale it'],
  ['r', 'restart its pods'],
  ['Delete', 'delete it'],
  ['u', 'up: from the object to its list'],
  ['Ctrl Enter', 'in an editor: review, then apply'],
  ['Shift Escape', 'leave the terminal'],
  ['d', 'light or dark'],
  ['Escape', 'close, leave a field'],
  ['?', 'this'],
];

const actions = new Map();

/** Does `action` when a key is pressed, until `signal` when there is one; later ones come before earlier ones. */
export function whenPressed(key, action, signal) {
  const all = actions.get(key) ?? [];
  // What is there for as long as the page is replaced when somebody logs in again.
  actions.set(key, signal ? [...all, action] : [action]);
  signal?.addEventListener('abort', () => actions.set(key, actions.get(key).filter((one) => one !== action)), { once: true });
}

/** Begins to listen. */
export function listen() {
  document.addEventListener('keydown', (event) => {
    const at = event.target;
    const writing = at.matches?.('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape' && writing && !at.closest('dialog, .terminal')) { at.blur(); return; }
    if (writing || event.ctrlKey || event.altKey || event.metaKey || document.querySelector('dialog[open]')) return;
    const action = actions.get(event.key)?.at(-1);
    // Enter on a link or a button is theirs.
    if (!action || (event.key === 'Enter' && at.matches?.('a, button, summary'))) return;
    event.preventDefault();
    action(event);
  });
}

/** Shows all shortcuts. */
export function showHelp() {
  const rows = SHORTCUTS.map(([keys, what]) => h('tr', {}, h('td', {}, keys.split(' ').flatMap((key) => [h('kbd', {}, key), ' '])), h('td', {}, what)));
  open('Keyboard', [h('table', {}, h('tbody', {}, rows))]);
}
