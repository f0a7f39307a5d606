// The logs of a pod, or of the pods that an object selects.

import { ApiError, ask, get, lines, withQuery } from '../lib/api.js';
import { fill, h, message } from '../lib/dom.js';
import { sleep } from '../lib/live.js';
import { selectorOf } from './object.js';

/** Lines that are kept: the oldest go. */
const KEPT = 5000;

export async function logsTab({ root, object, signal }) {
  const { namespace } = object.metadata;
  const pods = object.kind === 'Pod' ? [object]
    : (await get(withQuery(`/api/v1/namespaces/${namespace}/pods`, { labelSelector: selectorOf(object) }), { signal })).items;
  if (!pods.length) { fill(root, message('warn', 'It has no pods.')); return; }

  let reading;
  const pod = h('select', { 'aria-label': 'Pod', onchange: () => { choices(); read(); } }, pods.map((one) => h('option', {}, one.metadata.name)));
  const container = h('select', { id: 'container', 'aria-label': 'Container', onchange: () => read() });
  const box = (text, checked, onchange = () => read()) => {
    const input = h('input', { type: 'checkbox', checked, onchange });
    return [input, h('label', {}, input, text)];
  };
  const [follow, followLabel] = box('follow', true);
  const [previous, previousLabel] = box('of the container before', false);
  const [times, timesLabel] = box('times', false);
  const [, wrapLabel] = box('wrap', false, (event) => output.classList.toggle('wrap', event.target.checked));
  const tail = h('select', { 'aria-label': 'Lines', onchange: () => read() }, ['500', '100', '2000', '5000'].map((one) => h('option', { value: one }, `last ${one}`)));
  const filter = h('input', { type: 'search', placeholder: 'Only lines with…', 'aria-label': 'Only lines with', oninput: () => { for (const line of output.children) hide(line); } });
  const state = h('span', { class: 'dim', role: 'status' });
  const told = h('div', {});
  const output = h('div', { class: 'log', id: 'log', role: 'log', tabindex: '0', 'aria-label': 'Log' });

  function choices() {
    const { spec } = pods[pod.selectedIndex];
    const all = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])];
    fill(container, all.map((one) => h('option', {}, one.name)));
  }

  const hide = (line) => { line.hidden = filter.value !== '' && !line.textContent.includes(filter.value); };

  function add(piece) {
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 30;
    output.append(...piece.map((text) => {
      const line = h('div', {}, text.replace(/\x1b\[[\d;]*[A-Za-z]/g, ''));
      hide(line);
      return line;
    }));
    while (output.children.length > KEPT) output.firstElementChild.remove();
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  async function read() {
    reading?.abort();
    reading = new AbortController();
    const own = AbortSignal.any([signal, reading.signal]);
    fill(output);
    fill(told);
    fill(state, follow.checked ? 'following' : '');
    try {
      const path = withQuery(`/api/v1/namespaces/${namespace}/pods/${pod.value}/log`, {
        container: container.value, follow: follow.checked && !previous.checked, previous: previous.checked, timestamps: times.checked, tailLines: tail.value,
      });
      for await (const piece of lines(await ask(path, { accept: '*/*', signal: own }))) add(piece);
      fill(state, 'the end');
    } catch (error) {
      if (own.aborted) return;
      fill(state);
      // A connection that broke is made again, while somebody follows.
      if (!(error instanceof ApiError) && follow.checked) {
        await sleep(500, own);
        if (!own.aborted) read();
        return;
      }
      fill(told, message('bad', error.code === 403 ? 'You may not read these logs. ' : '', error.message));
    }
  }

  fill(root,
    h('div', { class: 'tools' }, pods.length > 1 && pod, container, tail, followLabel, previousLabel, timesLabel, wrapLabel, filter, state),
    told, output);
  choices();
  await read();
}
