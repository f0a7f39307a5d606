// What is around every view: the bar with namespace and commands, and the resources at the side.

import { follow } from './lib/live.js';
import * as discovery from './lib/discovery.js';
import { fill, h } from './lib/dom.js';
import * as routes from './lib/routes.js';
import * as session from './lib/session.js';
import { showHelp, whenPressed } from './keyboard.js';
import { showPalette } from './palette.js';

/** What people look for most, as `group/resource`. */
const SECTIONS = [
  ['Workloads', ['/pods', 'apps/deployments', 'apps/statefulsets', 'apps/daemonsets', 'apps/replicasets', 'batch/jobs', 'batch/cronjobs', 'autoscaling/horizontalpodautoscalers']],
  ['Network', ['/services', 'networking.k8s.io/ingresses', 'discovery.k8s.io/endpointslices', 'networking.k8s.io/networkpolicies']],
  ['Configuration', ['/configmaps', '/secrets', '/resourcequotas', '/limitranges']],
  ['Storage', ['/persistentvolumeclaims', '/persistentvolumes', 'storage.k8s.io/storageclasses']],
  ['Cluster', ['/nodes', '/namespaces', '/events', '/serviceaccounts', 'rbac.authorization.k8s.io/roles', 'rbac.authorization.k8s.io/rolebindings',
    'rbac.authorization.k8s.io/clusterroles', 'rbac.authorization.k8s.io/clusterrolebindings', 'apiextensions.k8s.io/customresourcedefinitions']],
];

/** Builds it, until `signal`; answers where views go, and what marks the view in the list. */
export function frame(root, { signal, leave, again }) {
  const main = h('main', { id: 'main', tabindex: '-1' });
  const namespaces = h('datalist', { id: 'namespaces' });
  const namespace = h('input', {
    id: 'namespace', list: 'namespaces', placeholder: 'All namespaces', 'aria-label': 'Namespace', autocomplete: 'off', spellcheck: 'false',
    onchange: () => { session.chooseNamespace(namespace.value.trim()); again(); },
  });
  namespace.value = session.namespace();
  const theme = h('button', { id: 'theme', title: 'Light or dark (d)', onclick: () => { session.switchTheme(); named(); } });
  const named = () => fill(theme, session.isDark() ? 'Light' : 'Dark');
  named();
  const nav = h('nav', { 'aria-label': 'Resources' }, ...sections());
  fill(root,
    h('div', { class: 'frame' },
      h('header', {},
        h('a', { class: 'skip', href: '#main', onclick: (event) => { event.preventDefault(); main.focus(); } }, 'To the content'),
        h('a', { class: 'brand', href: '#/' }, h('img', { src: 'icon.svg', alt: '' }), 'Knarr'),
        namespace, namespaces,
        h('button', { onclick: showPalette, title: 'Go to a resource (g)' }, 'Go to…'),
        h('a', { class: 'button', href: '#/create', title: 'Create from YAML (c)' }, 'Create'),
        h('span', { class: 'spring' }),
        h('span', { class: 'dim', id: 'user' }, session.userName()),
        theme,
        h('button', { onclick: showHelp, title: 'Keyboard shortcuts (?)' }, 'Keys'),
        h('button', { id: 'leave', onclick: leave }, 'Log out')),
      nav, main),
    h('div', { id: 'toasts', 'aria-live': 'polite' }));
  whenPressed('n', () => { namespace.focus(); namespace.select(); });
  whenPressed('g', showPalette);
  whenPressed('c', () => { location.hash = '#/create'; });
  whenPressed('d', () => theme.click());
  whenPressed('?', showHelp);
  suggest(namespaces, signal);
  return { main, select: (route) => select(nav, route) };
}

function sections() {
  const used = new Set();
  const entry = (resource) => h('li', {}, h('a', {
    href: routes.list(resource), title: `${resource.name}.${resource.group || 'core'}`, 'data-resource': `${resource.group}/${resource.name}`,
  }, plural(resource)));
  const known = SECTIONS.map(([title, names]) => {
    const found = names.map((name) => discovery.find(...split(name))).filter((one) => one?.verbs.includes('list'));
    found.forEach((one) => used.add(one));
    return found.length ? [h('h2', {}, title), h('ul', {}, found.map(entry))] : [];
  });
  const groups = Map.groupBy(discovery.listed().filter((one) => !used.has(one)), (one) => one.group);
  const rest = [...groups].sort(([a], [b]) => a.localeCompare(b)).map(([group, all]) =>
    h('details', {}, h('summary', {}, group || 'core'), h('ul', {}, all.map(entry))));
  return [...known.flat(), h('h2', {}, 'Everything else'), ...rest];
}

const split = (name) => [name.slice(0, name.indexOf('/')), name.slice(name.indexOf('/') + 1)];

/** A kind in the plural: the resource's name with the kind's capitals. */
export function plural({ kind, name }) {
  return name.startsWith(kind.toLowerCase()) ? kind + name.slice(kind.length)
    : name.startsWith(kind.toLowerCase().slice(0, -1)) ? kind.slice(0, -1) + name.slice(kind.length - 1) : name;
}

function select(nav, { group, resource }) {
  for (const link of nav.querySelectorAll('a')) {
    const is = link.dataset.resource === `${group}/${resource}`;
    if (is) {
      link.setAttribute('aria-current', 'page');
      link.closest('details')?.setAttribute('open', '');
    } else link.removeAttribute('aria-current');
  }
}

/** Namespaces to choose from, for those who may list them; others type a name. */
async function suggest(list, signal) {
  const names = new Set();
  const show = () => fill(list, [...names].sort().map((name) => h('option', { value: name })));
  try {
    await follow('/api/v1/namespaces', {
      signal,
      reset: (pages) => { names.clear(); pages.flatMap((page) => page.items).forEach((one) => names.add(one.metadata.name)); show(); },
      changed: (type, { metadata }) => { if (type === 'DELETED') names.delete(metadata.name); else names.add(metadata.name); show(); },
    });
  } catch { /* Whoever may not list namespaces types one. */ }
}
