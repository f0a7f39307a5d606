// What nodes and pods use, from metrics.k8s.io where the cluster has it. It knows the present only: the past is what this page
// has seen since it was opened.

import { ApiError, get, withQuery } from '../lib/api.js';
import * as discovery from '../lib/discovery.js';
import { fill, h, message } from '../lib/dom.js';
import { bytes, cores, quantity } from '../lib/format.js';
import { sleep } from '../lib/live.js';
import { chart } from '../chart.js';
import { selectorOf } from './object.js';

const PERIOD = 10000;
/** An hour of it. */
const KEPT = 360;

/** What was seen: by path, a list of `{time, cpu, memory}`. */
const history = new Map();

/** Whether the cluster measures anything. */
export const hasMetrics = () => discovery.find('metrics.k8s.io', 'nodes') !== undefined;

function note(key, time, usages) {
  const seen = history.get(key) ?? [];
  if (seen.at(-1)?.time !== time) {
    const sum = (of) => usages.reduce((all, usage) => all + (quantity(usage[of]) || 0), 0);
    seen.push({ time, cpu: sum('cpu'), memory: sum('memory') });
    if (seen.length > KEPT) seen.shift();
  }
  history.set(key, seen);
  return seen;
}

/** Both charts of one thing. */
const charts = (title, seen, { cpu, memory } = {}) => [
  chart({ title: `${title}: CPU`, seen: seen.map(({ time, cpu: value }) => ({ time, value })), limit: cpu, write: cores }),
  chart({ title: `${title}: memory`, seen: seen.map(({ time, memory: value }) => ({ time, value })), limit: memory, write: bytes, second: true }),
];

/** Asks again and again; what cannot be had is told. */
async function poll(root, signal, look) {
  while (!signal.aborted) {
    try {
      fill(root, await look());
    } catch (error) {
      if (signal.aborted) return;
      const early = error instanceof ApiError && error.code === 404;
      fill(root, message('warn', early ? 'Nothing has been measured yet; it takes half a minute.' : error.code === 403 ? `You may not see metrics. ${error.message}` : error.message));
    }
    await sleep(PERIOD, signal);
  }
}

export async function metricsTab({ root, object, path, signal }) {
  const { namespace, name } = object.metadata;
  const base = discovery.collection(discovery.find('metrics.k8s.io', object.kind === 'Node' ? 'nodes' : 'pods'), namespace);
  await poll(root, signal, async () => {
    if (object.kind === 'Node') {
      const { timestamp, usage } = await get(`${base}/${name}`, { signal });
      const { cpu, memory } = object.status?.allocatable ?? {};
      return h('div', { class: 'charts' }, charts(name, note(path, timestamp, [usage]), { cpu: quantity(cpu), memory: quantity(memory) }));
    }
    if (object.kind === 'Pod') {
      const { timestamp, containers } = await get(`${base}/${name}`, { signal });
      const each = containers.length > 1 ? containers.flatMap((one) => charts(one.name, note(`${path}#${one.name}`, timestamp, [one.usage]))) : [];
      return h('div', { class: 'charts' }, charts('Pod', note(path, timestamp, containers.map((one) => one.usage))), each);
    }
    const { items } = await get(withQuery(base, { labelSelector: selectorOf(object) }), { signal });
    if (!items.length) return message('warn', 'Nothing has been measured yet; it takes half a minute.');
    const latest = items.map((one) => one.timestamp).sort().at(-1);
    const all = items.flatMap((one) => one.containers.map((container) => container.usage));
    return h('div', { class: 'charts' }, charts(items.length === 1 ? '1 pod' : `${items.length} pods`, note(path, latest, all)));
  });
}

/** Charts of all nodes. */
export async function nodeCharts(root, signal) {
  await poll(root, signal, async () => {
    const [used, nodes] = await Promise.all([get('/apis/metrics.k8s.io/v1beta1/nodes', { signal }), get('/api/v1/nodes', { signal })]);
    const limits = new Map(nodes.items.map((one) => [one.metadata.name, one.status?.allocatable ?? {}]));
    return h('div', { class: 'charts' }, used.items.flatMap(({ metadata, timestamp, usage }) => {
      const { cpu, memory } = limits.get(metadata.name) ?? {};
      return charts(metadata.name, note(`/nodes/${metadata.name}`, timestamp, [usage]), { cpu: quantity(cpu), memory: quantity(memory) });
    }));
  });
}
