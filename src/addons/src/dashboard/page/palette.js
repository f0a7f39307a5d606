// Going to a resource by a few letters of its name.

import * as discovery from './lib/discovery.js';
import { fill, h } from './lib/dom.js';
import * as routes from './lib/routes.js';

const SHOWN = 60;

/** Resources that a text may mean, the likeliest first. */
export function matching(resources, text) {
  const wanted = text.trim().toLowerCase();
  const rank = (one) => {
    if (one.short.includes(wanted) || one.name === wanted || one.kind.toLowerCase() === wanted) return 0;
    if (one.name.startsWith(wanted)) return 1;
    return `${one.name}.${one.group}`.includes(wanted) ? 2 : 3;
  };
  return resources.map((one) => [rank(one), one]).filter(([rank]) => rank < 3)
    .sort(([a, x], [b, y]) => a - b || x.name.localeCompare(y.name)).map(([, one]) => one);
}

/** Asks where to go. */
export function showPalette() {
  let found = [];
  let at = 0;
  const list = h('ul', { class: 'options', role: 'listbox', id: 'found', 'aria-label': 'Resources' });
  const go = (one) => {
    if (!one) return;
    dialog.close();
    location.hash = routes.list(one);
  };
  const show = () => {
    found = matching(discovery.listed(), input.value).slice(0, SHOWN);
    at = Math.max(0, Math.min(at, found.length - 1));
    fill(list, found.map((one, index) => h('li', {
      role: 'option', id: `found${index}`, 'aria-selected': String(index === at), onclick: () => go(one),
    }, h('span', {}, one.name), h('span', { class: 'dim' }, one.group || 'core'))));
    input.setAttribute('aria-activedescendant', `found${at}`);
    list.children[at]?.scrollIntoView({ block: 'nearest' });
  };
  const input = h('input', {
    'aria-label': 'Resource', role: 'combobox', 'aria-controls': 'found', 'aria-expanded': 'true', autocomplete: 'off', placeholder: 'pods, deploy, svc…',
    oninput: () => { at = 0; show(); },
    onkeydown: (event) => {
      if (event.key === 'ArrowDown') at += 1;
      else if (event.key === 'ArrowUp') at -= 1;
      else if (event.key === 'Enter') { event.preventDefault(); go(found[at]); return; } else return;
      event.preventDefault();
      show();
    },
  });
  const dialog = h('dialog', { 'aria-label': 'Go to', onclose: () => dialog.remove() }, h('h1', {}, 'Go to'), input, list);
  document.body.append(dialog);
  dialog.showModal();
  show();
}
