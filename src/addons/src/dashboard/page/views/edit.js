// Editing an object, or creating some: YAML, what would change, then server-side apply.

import { APPLY, ApiError, MANAGER, YAML, ask, getYaml, withQuery } from '../lib/api.js';
import { around, diff } from '../lib/diff.js';
import * as discovery from '../lib/discovery.js';
import { fill, h, message, toast } from '../lib/dom.js';
import * as routes from '../lib/routes.js';
import * as session from '../lib/session.js';
import { documents, editable, identity, withVersion } from '../lib/yaml.js';

const TEMPLATE = (namespace) => `apiVersion: v1
kind: ConfigMap
metadata:
  name: example
  namespace: ${namespace || 'default'}
data:
  key: value
`;

export async function editView({ root, route, signal, titled }) {
  const creating = route.view === 'create';
  const resource = creating ? undefined : discovery.find(route.group, route.resource);
  if (!creating && !resource) throw new Error(`The cluster has no ${route.resource}.`);
  titled(creating ? 'Create' : `Edit ${resource.kind} ${route.name}`);
  const path = resource && discovery.item(resource, route.namespace, route.name);
  const original = creating ? TEMPLATE(session.namespace()) : editable(await getYaml(path, { signal }));
  const back = creating ? '#/' : routes.object(resource, route.namespace, route.name);

  let planned;
  const told = h('div', {});
  const changes = h('div', { id: 'changes' });
  const text = h('textarea', {
    class: 'yaml', id: 'editor', spellcheck: 'false', autocomplete: 'off', 'aria-label': 'YAML', 'aria-describedby': 'hint',
    oninput: () => { planned = undefined; apply.disabled = true; },
    onkeydown: (event) => {
      if (event.key === 'Enter' && event.ctrlKey) { event.preventDefault(); if (planned) send(); else review(false); }
    },
  });
  text.value = original;
  const reviewButton = h('button', { class: 'primary', id: 'review', onclick: () => review(false) }, 'Review changes');
  const apply = h('button', { id: 'apply', disabled: true, onclick: () => send() }, 'Apply');
  fill(root,
    h('div', { class: 'head' }, h('h1', {}, creating ? 'Create from YAML' : route.name),
      resource && h('span', { class: 'dim' }, `${resource.kind}${route.namespace && ` in ${route.namespace}`}`)),
    h('p', { class: 'dim', id: 'hint' }, creating ? 'One document or several, divided by ---. What is there already is changed. ' : '',
      'Ctrl Enter reviews, and once more applies. Escape leaves the text.'),
    h('div', { class: 'tools' }, reviewButton, apply, h('a', { class: 'button', href: back }, 'Cancel')),
    h('div', { class: 'editor' }, text, h('div', {}, told, changes)));
  text.focus();
  text.setSelectionRange(0, 0);

  /** What a document is, and what the server would make of it. */
  async function examine(document, method, force) {
    const { apiVersion, kind, name, namespace } = identity(document);
    if (!apiVersion || !kind || !name) throw new Error('A document needs apiVersion, kind and metadata.name.');
    const of = discovery.ofKind(apiVersion, kind);
    if (!of) throw new Error(`The cluster has no ${kind} of ${apiVersion}.`);
    const where = of.namespaced ? namespace || session.namespace() || 'default' : '';
    const to = discovery.item(of, where, name);
    if (path && to !== path) throw new Error('This is another object now. To make a copy, use Create.');
    const now = await getYaml(to, { signal }).catch((error) => {
      if (error instanceof ApiError && error.code === 404) return '';
      throw error;
    });
    const request = method === 'PUT'
      ? { method, type: YAML, body: withVersion(document, /^ {2}resourceVersion: "?([^"\n]+)/m.exec(now)?.[1] ?? '') }
      : { method: 'PATCH', type: APPLY, body: document };
    const query = { fieldManager: MANAGER, force: method === 'PATCH' && force };
    const make = (dryRun) => ask(withQuery(to, { ...query, dryRun: dryRun && 'All' }), { ...request, accept: YAML, signal });
    const response = await make(true);
    const warnings = response.headers.get('warning');
    return { kind, name, document, before: editable(now), after: editable(await response.text()), warnings, make: () => make(false) };
  }

  async function review(force, method = 'PATCH') {
    planned = undefined;
    apply.disabled = true;
    fill(changes);
    fill(told, message('good', 'Asking the server what would change…'));
    try {
      const plan = [];
      for (const document of documents(text.value)) plan.push(await examine(document, method, force));
      if (!plan.length) throw new Error('There is no document.');
      show(plan, method, force);
    } catch (error) {
      refused(error, method);
    }
  }

  /** Shows the plan, which can be applied when it changes something. */
  function show(plan, method, force) {
    const compared = plan.map((one) => ({ ...one, lines: diff(one.before, one.after) }));
    const differs = compared.some(({ lines }) => lines.some(({ kind }) => kind !== 'same'));
    const kept = method === 'PATCH' && compared.some((one) => one.before && hasKept(one));
    fill(told,
      !differs && message('warn', 'Nothing would change.'),
      compared.filter(({ warnings }) => warnings).map(({ warnings }) => message('warn', warnings.replace(/^299 \S+ /, ''))),
      kept && message('warn', 'Lines that you have removed stay: others have set them, too. ',
        h('button', { id: 'replace', onclick: () => review(false, 'PUT') }, 'Replace the whole object instead')),
      differs && message('good', force ? 'With this, what others have set is taken over.' : 'This is what would change.'));
    if (!differs) return;
    fill(changes, compared.map((one) => [h('h2', {}, `${one.kind} ${one.name}${one.before ? '' : ' (new)'}`), showDiff(one.lines)]));
    planned = compared;
    apply.disabled = false;
    apply.focus();
  }

  /** Whether lines that were removed from the text would still be there. */
  function hasKept({ before, document, after }) {
    const removed = diff(before, document).filter(({ kind }) => kind === 'removed').map((line) => line.text);
    const stay = new Set(diff(document, after).filter(({ kind }) => kind === 'added').map((line) => line.text));
    return removed.some((line) => line.trim() && stay.has(line));
  }

  function refused(error, method) {
    if (signal.aborted) return;
    const conflicts = error.conflicts ?? [];
    if (conflicts.length) {
      fill(told, message('bad', 'Others have set these fields to something else:',
        h('ul', {}, conflicts.map((one) => h('li', {}, h('code', {}, one.field), ` ${one.message}`))),
        h('button', { id: 'force', class: 'danger', onclick: () => review(true) }, 'Review with force: take the fields over')));
      document.getElementById('force').focus();
      return;
    }
    fill(told, message('bad', error.code === 403 ? 'You may not do this. ' : '', error.message,
      method === 'PUT' && error.code === 409 ? '\nReview again: it has changed meanwhile.' : ''));
  }

  async function send() {
    const plan = planned;
    if (!plan) return;
    apply.disabled = true;
    try {
      for (const one of plan) await one.make();
      toast('good', plan.length === 1 ? `${plan[0].kind} ${plan[0].name} is applied` : `${plan.length} objects are applied`);
      const { apiVersion, kind, name, namespace } = identity(plan[0].document);
      const of = discovery.ofKind(apiVersion, kind);
      location.hash = routes.object(of, of.namespaced ? namespace || session.namespace() || 'default' : '', name);
    } catch (error) {
      planned = undefined;
      refused(error, '');
    }
  }
}

const MARKS = { same: '  ', added: '+ ', removed: '- ' };

/** A diff for people; screen readers hear what is added and removed by the marks. */
function showDiff(lines) {
  return h('div', { class: 'diff', tabindex: '0', role: 'region', 'aria-label': 'Changes' }, around(lines).map((line) => (line.kind === 'gap'
    ? h('div', { class: 'gap' }, `  … ${line.count} lines`)
    : h('div', { class: line.kind }, MARKS[line.kind] + line.text))));
}
