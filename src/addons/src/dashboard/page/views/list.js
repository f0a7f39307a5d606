// A live list of one resource, in the columns that the server tells.

import * as discovery from '../lib/discovery.js';
import { fill, h, message } from '../lib/dom.js';
import { age } from '../lib/format.js';
import { follow, sleep } from '../lib/live.js';
import { NEWEST, Rows } from '../lib/rows.js';
import * as routes from '../lib/routes.js';
import * as session from '../lib/session.js';
import { whenPressed } from '../keyboard.js';
import { plural } from '../frame.js';
import { open as openDelete } from '../actions.js';

/** Rows that are shown at once: a browser takes seconds for many thousands. */
const SHOWN = 500;

export async function listView({ root, route, signal, titled }) {
  const resource = discovery.find(route.group, route.resource);
  if (!resource) throw new Error(`The cluster has no ${route.resource}${route.group && `.${route.group}`}.`);
  const namespace = session.namespace();
  const title = plural(resource);
  titled(title);

  const rows = new Rows();
  const elements = new Map();
  const sorting = { column: resource.name === 'events' ? NEWEST : -1, descending: false };
  let limit = SHOWN;
  let planned = false;

  const count = h('span', { class: 'dim', id: 'count', role: 'status' });
  const state = h('span', { class: 'warn', role: 'status' });
  const filter = h('input', {
    type: 'search', id: 'filter', placeholder: 'Filter (/)', 'aria-label': 'Filter', spellcheck: 'false', value: route.query.q ?? '',
    oninput: () => {
      // The address keeps the filter without becoming another view.
      history.replaceState(null, '', routes.list(resource, { ...route.query, q: filter.value }));
      plan();
    },
  });
  const head = h('thead', {});
  const body = h('tbody', {});
  const more = h('button', { hidden: true, onclick: () => { limit += SHOWN; plan(); } }, 'Show more');
  fill(root,
    h('div', { class: 'head' }, h('h1', {}, title), count, state),
    h('div', { class: 'tools' }, filter,
      route.query.labels && h('span', { class: 'tag' }, route.query.labels, ' ', h('a', { href: routes.list(resource), 'aria-label': 'Without this selector' }, '✕'))),
    h('div', { class: 'list' }, h('table', { 'aria-label': title }, head, body)), more);

  const columns = () => rows.columns.map((column, at) => ({ ...column, at })).filter((column) => !column.priority);
  const showsNamespace = () => resource.namespaced && !namespace;

  function showHead() {
    const sortBy = (column) => {
      sorting.descending = sorting.column === column && !sorting.descending;
      sorting.column = column;
      showHead();
      plan();
    };
    const heading = (text, column) => {
      const sorted = sorting.column === column;
      return h('th', { scope: 'col', 'aria-sort': sorted ? (sorting.descending ? 'descending' : 'ascending') : undefined },
        h('button', { onclick: () => sortBy(column) }, text, sorted ? (sorting.descending ? ' ↓' : ' ↑') : ''));
    };
    fill(head, h('tr', {}, showsNamespace() && heading('Namespace', -1), columns().map((column) => heading(column.name, column.at))));
  }

  function cell(row, column, position) {
    const { metadata } = row.object;
    const text = String(row.cells[column.at] ?? '');
    if (position === 0) return h('td', {}, h('a', { href: routes.object(resource, metadata.namespace, metadata.name), tabindex: '-1' }, text || metadata.name));
    if (column.name === 'Age' && metadata.creationTimestamp) return h('td', { 'data-since': metadata.creationTimestamp }, age(metadata.creationTimestamp));
    return h('td', { class: tone(column.name, text), title: text.length > 40 ? text : undefined }, text);
  }

  function element(key) {
    const row = rows.rows.get(key);
    const made = h('tr', { tabindex: '-1', 'data-key': key }, showsNamespace() && h('td', {}, row.object.metadata.namespace ?? ''),
      columns().map((column, position) => cell(row, column, position)));
    made.addEventListener('click', (event) => { if (!event.target.closest('a') && !getSelection().toString()) goTo(made); });
    elements.set(key, { row, made });
    return made;
  }

  const goTo = (made) => { location.hash = made.querySelector('a').hash; };

  /** Shows what has changed before the next frame: many events make one. */
  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; if (!signal.aborted) show(); });
  }

  function show() {
    const keys = rows.view(filter.value, sorting.column, sorting.descending);
    const focused = document.activeElement?.closest?.('tr')?.dataset.key;
    const wanted = keys.slice(0, limit).map((key) => {
      const known = elements.get(key);
      return known && known.row === rows.rows.get(key) ? known.made : element(key);
    });
    for (const key of elements.keys()) if (!rows.rows.has(key)) elements.delete(key);
    // Only what is not where it belongs is moved: the rest keeps its focus and what is selected in it.
    wanted.forEach((made, at) => { if (body.children[at] !== made) body.insertBefore(made, body.children[at] ?? null); });
    while (body.children.length > wanted.length) body.lastElementChild.remove();
    if (wanted.length && !body.querySelector('tr[tabindex="0"]')) wanted[0].tabIndex = 0;
    if (focused && document.activeElement === document.body) body.querySelector(`tr[data-key="${CSS.escape(focused)}"]`)?.focus();
    fill(count, keys.length === rows.rows.size ? `${keys.length}` : `${keys.length} of ${rows.rows.size}`);
    more.hidden = keys.length <= limit;
    if (!wanted.length) fill(body, h('tr', {}, h('td', { class: 'dim', colspan: '40' }, rows.rows.size ? 'Nothing fits the filter.' : 'There is nothing here.')));
  }

  function focusRow(choose) {
    const all = [...body.querySelectorAll('tr[data-key]')];
    const at = all.indexOf(document.activeElement.closest('tr'));
    const next = all[Math.max(0, Math.min(all.length - 1, choose(at, all.length)))];
    if (!next) return;
    body.querySelector('tr[tabindex="0"]')?.setAttribute('tabindex', '-1');
    next.tabIndex = 0;
    next.focus();
  }

  for (const key of ['j', 'ArrowDown']) whenPressed(key, () => focusRow((at) => at + 1), signal);
  for (const key of ['k', 'ArrowUp']) whenPressed(key, () => focusRow((at) => (at < 0 ? 0 : at - 1)), signal);
  whenPressed('Home', () => focusRow(() => 0), signal);
  whenPressed('End', () => focusRow((at, all) => all - 1), signal);
  whenPressed('/', () => filter.focus(), signal);
  whenPressed('Enter', () => { const row = document.activeElement.closest('tr[data-key]'); if (row) goTo(row); }, signal);
  whenPressed('Delete', () => {
    const row = rows.rows.get(document.activeElement.closest('tr')?.dataset.key);
    if (row && resource.verbs.includes('delete')) openDelete('delete', resource, row.object);
  }, signal);
  filter.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'Enter') { event.preventDefault(); focusRow(() => 0); }
  });
  aging(body, signal);

  await follow(discovery.collection(resource, namespace), {
    query: { labelSelector: route.query.labels, includeObject: 'Metadata' },
    table: true,
    watchable: resource.verbs.includes('watch'),
    signal,
    state: (text) => fill(state, text),
    reset: (pages) => { rows.reset(pages); showHead(); plan(); },
    changed: (type, page) => {
      const keys = rows.change(type, page);
      plan();
      if (type === 'ADDED') requestAnimationFrame(() => keys.forEach((key) => elements.get(key)?.made.classList.add('fresh')));
    },
  });
}

/** Ages go on by themselves. */
export async function aging(root, signal) {
  while (!signal.aborted) {
    await sleep(10000, signal);
    for (const made of root.querySelectorAll('[data-since]')) made.textContent = age(made.dataset.since);
  }
}

/** What is good and what is not, of the states that columns tell. */
export function tone(column, text) {
  if (column === 'Type') return text === 'Warning' ? 'warn' : undefined;
  if (!/status|ready|phase|available/i.test(column)) return undefined;
  const [, ready, all] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (ready !== undefined) return ready === all ? undefined : 'warn';
  if (/(error|failed|backoff|oomkilled|evicted|notready|lost|invalid)/i.test(text)) return 'bad';
  if (/^(pending|terminating|warning|unknown|containercreating|released|init:.*|podinitializing)/i.test(text)) return 'warn';
  return /^(running|ready|active|bound|complete|completed|available|succeeded)/i.test(text) ? 'good' : undefined;
}
