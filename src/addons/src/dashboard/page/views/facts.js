// The first view of an object: what the server's columns tell, conditions, containers, labels.

import { TABLE, get } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { age } from '../lib/format.js';
import { linkTo } from '../actions.js';
import { aging, tone } from './list.js';

export async function facts({ root, resource, object, path, signal, changed }) {
  const columns = h('dl', { class: 'facts' });
  const rest = h('div', {});
  fill(root, columns, rest);
  let version = 0;
  const show = async (now) => {
    fill(rest, details(now));
    version += 1;
    const asked = version;
    const table = await get(path, { accept: TABLE, signal }).catch(() => undefined);
    if (asked !== version || !table?.rows?.[0]) return;
    const cells = table.columnDefinitions.map(({ name }, at) => [name, String(table.rows[0].cells[at] ?? '')]);
    fill(columns, cells.filter(([name, text]) => name !== 'Name' && name !== 'Age' && text && text !== '<none>')
      .map(([name, text]) => [h('dt', {}, name), h('dd', { class: tone(name, text) }, text)]), general(now.metadata));
  };
  changed(show);
  aging(root, signal);
  await show(object);
}

function general(metadata) {
  const fact = (name, ...value) => [h('dt', {}, name), h('dd', {}, ...value)];
  return [
    fact('Created', h('span', { title: metadata.creationTimestamp, 'data-since': metadata.creationTimestamp }, age(metadata.creationTimestamp)), ' ago'),
    metadata.deletionTimestamp && fact('Being deleted', `since ${metadata.deletionTimestamp}`),
    metadata.ownerReferences?.length && fact('Owned by', metadata.ownerReferences.map((owner) => {
      const to = linkTo(owner, metadata.namespace);
      const text = `${owner.kind} ${owner.name}`;
      return h('span', { class: 'tag' }, to ? h('a', { href: to }, text) : text);
    })),
    tags('Labels', metadata.labels),
    metadata.finalizers?.length && fact('Finalizers', metadata.finalizers.map((one) => h('span', { class: 'tag' }, one))),
  ].filter(Boolean).flat();
}

function tags(title, all) {
  const entries = Object.entries(all ?? {});
  return entries.length && [h('dt', {}, title), h('dd', {}, entries.map(([name, value]) => h('span', { class: 'tag' }, `${name}=${value}`)))];
}

function details(object) {
  return [
    table('Containers', ['Name', 'Image', 'State', 'Ready', 'Restarts'], containers(object)),
    table('Conditions', ['Type', 'Status', 'Reason', 'Message', 'Since'],
      (object.status?.conditions ?? []).map((one) => [one.type, one.status, one.reason ?? '', one.message ?? '', one.lastTransitionTime ? age(one.lastTransitionTime) : ''])),
    table('Data', ['Key', 'Value'], data(object)),
    table('Annotations', ['Name', 'Value'], Object.entries(object.metadata.annotations ?? {}).map(([name, value]) => [name, short(value)])),
  ];
}

function containers({ kind, spec, status }) {
  if (kind !== 'Pod') return [];
  const states = new Map([...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? []), ...(status?.ephemeralContainerStatuses ?? [])].map((one) => [one.name, one]));
  const all = [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])];
  return all.map(({ name, image }) => {
    const one = states.get(name);
    const [state, detail] = Object.entries(one?.state ?? {})[0] ?? ['waiting', {}];
    const reason = detail?.reason ? `: ${detail.reason}` : '';
    return [name, image, `${state}${reason}${detail?.exitCode === undefined ? '' : ` (${detail.exitCode})`}`, one?.ready ? 'yes' : 'no', String(one?.restartCount ?? 0)];
  });
}

/** Secrets are told by their sizes: their YAML shows them to whoever asks for it. */
function data({ kind, data: values }) {
  if (!values || typeof values !== 'object') return [];
  return Object.entries(values).map(([key, value]) => [key, kind === 'Secret' ? `${atobLength(value)} bytes` : short(String(value))]);
}

const atobLength = (text) => Math.floor((text.replace(/=+$/, '').length * 3) / 4);
const short = (text) => (text.length > 400 ? `${text.slice(0, 400)}…` : text);

/** A titled table; nothing when there are no rows. */
export function table(title, heads, rows) {
  if (!rows.length) return [];
  return [
    h('h2', {}, title),
    h('table', { 'aria-label': title }, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { class: 'plain', scope: 'col' }, head)))),
      h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((cell, at) => h('td', { class: typeof cell === 'string' ? tone(heads[at], cell) : undefined }, cell)))))),
  ];
}
