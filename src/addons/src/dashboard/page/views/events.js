// The events of an object.

import { fill, h } from '../lib/dom.js';
import { age } from '../lib/format.js';
import { follow } from '../lib/live.js';
import { aging } from './list.js';

const last = (event) => event.lastTimestamp ?? event.series?.lastObservedTime ?? event.eventTime ?? event.metadata.creationTimestamp;

/** A table of events, the latest first. */
export function eventTable(events, withObject = false) {
  const sorted = [...events].sort((a, b) => (last(b) > last(a) ? 1 : -1));
  if (!sorted.length) return h('p', { class: 'dim' }, 'There are no events.');
  const heads = ['Last', 'Type', 'Reason', withObject && 'Object', 'Message', 'Times', 'From'].filter(Boolean);
  return h('table', { 'aria-label': 'Events' },
    h('thead', {}, h('tr', {}, heads.map((head) => h('th', { class: 'plain', scope: 'col' }, head)))),
    h('tbody', {}, sorted.map((event) => h('tr', {},
      h('td', { 'data-since': last(event) }, age(last(event))),
      h('td', { class: event.type === 'Warning' ? 'warn' : undefined }, event.type),
      h('td', {}, event.reason),
      withObject && h('td', {}, `${event.involvedObject.kind} ${event.involvedObject.namespace ? `${event.involvedObject.namespace}/` : ''}${event.involvedObject.name}`),
      h('td', {}, event.message),
      h('td', {}, String(event.count ?? event.series?.count ?? 1)),
      h('td', {}, event.source?.component ?? event.reportingComponent ?? '')))));
}

export async function eventsTab({ root, object, signal }) {
  const events = new Map();
  const show = () => fill(root, eventTable(events.values()));
  const { namespace = 'default', uid, name } = object.metadata;
  aging(root, signal);
  await follow(`/api/v1/namespaces/${namespace}/events`, {
    // Nodes are named by their own events' uid.
    query: { fieldSelector: object.kind === 'Node' ? `involvedObject.kind=Node,involvedObject.name=${name}` : `involvedObject.uid=${uid}` },
    signal,
    reset: (pages) => { events.clear(); pages.flatMap((page) => page.items).forEach((one) => events.set(one.metadata.uid, one)); show(); },
    changed: (type, one) => { if (type === 'DELETED') events.delete(one.metadata.uid); else events.set(one.metadata.uid, one); show(); },
  });
}
