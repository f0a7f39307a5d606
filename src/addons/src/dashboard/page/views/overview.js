// The first view: what the nodes use, and what went wrong lately.

import * as discovery from '../lib/discovery.js';
import { fill, h, message } from '../lib/dom.js';
import { get } from '../lib/api.js';
import { follow } from '../lib/live.js';
import * as session from '../lib/session.js';
import { eventTable } from './events.js';
import { aging } from './list.js';
import { hasMetrics, nodeCharts } from './metrics.js';

export async function overview({ root, signal, titled }) {
  titled('Overview');
  const version = await get('/version', { signal }).catch(() => ({}));
  const charts = h('div', {});
  const warnings = h('div', {});
  fill(root,
    h('div', { class: 'head' }, h('h1', {}, 'Overview'),
      h('span', { class: 'dim' }, `Kubernetes ${version.gitVersion ?? ''}, ${discovery.listed().length} kinds of objects`)),
    charts, h('h2', {}, 'Warnings'), warnings);
  if (hasMetrics()) nodeCharts(charts, signal);
  else fill(charts, message('warn', 'There are no metrics. They come with: knarr enable metrics-server'));
  const events = new Map();
  const note = (one) => { if (one.type === 'Warning') events.set(one.metadata.uid, one); };
  const show = () => fill(warnings, eventTable(events.values(), true));
  aging(root, signal);
  const namespace = session.namespace();
  try {
    await follow(discovery.collection(discovery.find('', 'events'), namespace), {
      query: { fieldSelector: 'type=Warning' },
      signal,
      reset: (pages) => { events.clear(); pages.flatMap((page) => page.items).forEach(note); show(); },
      changed: (type, one) => { if (type === 'DELETED') events.delete(one.metadata.uid); else note(one); show(); },
    });
  } catch (error) {
    fill(warnings, message('warn', error.code === 403 ? 'You may not see events here. Choose a namespace that you have rights in (n). ' : '', error.message));
  }
}
