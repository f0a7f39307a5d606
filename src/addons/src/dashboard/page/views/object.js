// One object: what it is, its YAML, events, logs, a terminal, what it uses, its revisions.

import * as discovery from '../lib/discovery.js';
import { fill, h, message } from '../lib/dom.js';
import { follow } from '../lib/live.js';
import * as routes from '../lib/routes.js';
import { actionsOf, open } from '../actions.js';
import { whenPressed } from '../keyboard.js';
import { eventsTab } from './events.js';
import { facts } from './facts.js';
import { logsTab } from './logs.js';
import { metricsTab, hasMetrics } from './metrics.js';
import { revisionsTab } from './revisions.js';
import { terminalTab } from './terminal.js';
import { yamlTab } from './yaml.js';

/** The label selector of the pods of an object, as a query has it; empty when it has none. */
export function selectorOf(object) {
  const selector = object.spec?.selector;
  if (!selector || object.kind === 'PersistentVolumeClaim') return '';
  const labels = selector.matchLabels ?? (selector.matchExpressions ? {} : selector);
  const parts = Object.entries(labels).filter(([, value]) => typeof value === 'string').map(([name, value]) => `${name}=${value}`);
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    if (operator === 'Exists') parts.push(key);
    else if (operator === 'DoesNotExist') parts.push(`!${key}`);
    else parts.push(`${key} ${operator.toLowerCase()} (${values.join(',')})`);
  }
  return parts.join(',');
}

function tabsOf(resource, object) {
  const isPod = resource.kind === 'Pod' && resource.group === '';
  const hasPods = !isPod && resource.namespaced && selectorOf(object) && resource.kind !== 'NetworkPolicy';
  return [
    ['', 'Overview', undefined, facts],
    ['yaml', 'YAML', 'y', yamlTab],
    ['events', 'Events', 'v', eventsTab],
    (isPod || hasPods) && ['logs', 'Logs', 'l', logsTab],
    isPod && ['terminal', 'Terminal', 't', terminalTab],
    (isPod || hasPods || resource.kind === 'Node') && hasMetrics() && ['metrics', 'Metrics', 'm', metricsTab],
    resource.group === 'apps' && ['Deployment', 'StatefulSet', 'DaemonSet'].includes(resource.kind) && ['revisions', 'Rollout', 'o', revisionsTab],
  ].filter(Boolean);
}

export async function objectView({ root, route, signal, titled }) {
  const resource = discovery.find(route.group, route.resource);
  if (!resource) throw new Error(`The cluster has no ${route.resource}${route.group && `.${route.group}`}.`);
  const { namespace, name } = route;
  titled(`${resource.kind} ${name}`);
  const view = h('div', {});
  const told = h('div', {});
  const connection = h('span', { class: 'warn', role: 'status' });
  const tools = h('div', { class: 'tools' });
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Views of the object' });
  const listeners = new Set();
  let current;
  let shownActions = '';

  const link = (tab) => routes.object(resource, namespace, name, tab);
  const go = (to) => () => { location.hash = to; };
  whenPressed('u', go(routes.list(resource)), signal);
  whenPressed('e', go(routes.edit(resource, namespace, name)), signal);

  /** Buttons, when they are others than before: one that has the focus stays. */
  function showActions() {
    const actions = actionsOf(resource, current);
    const selector = selectorOf(current);
    const key = JSON.stringify([actions, selector]);
    if (key === shownActions) return;
    shownActions = key;
    const pods = discovery.find('', 'pods');
    fill(tools,
      resource.verbs.includes('patch') && h('a', { class: 'button', href: routes.edit(resource, namespace, name), title: 'Edit (e)' }, 'Edit'),
      actions.map(([action, text, shortcut]) => h('button', {
        class: action === 'delete' ? 'danger' : '', 'data-action': action, title: shortcut ? `${text} (${shortcut})` : text, onclick: () => open(action, resource, current),
      }, text)),
      pods && selector && resource.kind !== 'Pod' && h('a', { class: 'button', href: routes.list(pods, { labels: selector }) }, 'Pods'));
  }

  for (const key of ['s', 'r', 'Delete']) {
    whenPressed(key, () => tools.querySelector(`[title$="(${key})"]`)?.click(), signal);
  }

  /** Shows the object that has come; the tab begins with the first. */
  function arrived(object) {
    const first = !current;
    current = { apiVersion: discovery.apiVersion(resource), kind: resource.kind, ...object };
    showActions();
    if (first) {
      const all = tabsOf(resource, current);
      const [tab, , , begin] = all.find(([id]) => id === route.tab) ?? all[0];
      fill(tabs, all.map(([id, text, key]) => h('a', { href: link(id), title: key && `${text} (${key})`, 'aria-current': id === tab ? 'page' : undefined }, text)));
      for (const [id, , key] of all) if (key) whenPressed(key, go(link(id)), signal);
      Promise.resolve(begin({
        root: view, resource, object: current, path: discovery.item(resource, namespace, name), signal, current: () => current,
        changed: (listener) => { listeners.add(listener); },
      })).catch((error) => { if (!signal.aborted) fill(view, message('bad', error.code === 403 ? 'You may not see this. ' : '', error.message)); });
    } else listeners.forEach((listener) => listener(current));
  }

  fill(root,
    h('div', { class: 'head' }, h('h1', {}, name),
      h('span', { class: 'dim' }, h('a', { href: routes.list(resource) }, resource.kind), namespace && ` in ${namespace}`), connection),
    told, tools, tabs, view);

  await follow(discovery.collection(resource, namespace), {
    query: { fieldSelector: `metadata.name=${name}` },
    watchable: resource.verbs.includes('watch'),
    signal,
    state: (text) => fill(connection, text),
    reset: (pages) => {
      const found = pages.flatMap((page) => page.items)[0];
      if (found) arrived(found);
      else fill(told, message('warn', current ? 'It was deleted. What you see is what it was.' : 'It is not there.'));
    },
    changed: (type, object) => {
      if (type === 'DELETED') fill(told, message('warn', 'It was deleted. What you see is what it was.'));
      else { fill(told); arrived(object); }
    },
  });
}
