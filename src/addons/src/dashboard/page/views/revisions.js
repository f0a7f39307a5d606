// How a rollout goes, and the revisions to go back to.

import { fill, h, message, toast } from '../lib/dom.js';
import { age } from '../lib/format.js';
import { confirm } from '../dialog.js';
import { revisions, rollout } from '../actions.js';
import { table } from './facts.js';

export async function revisionsTab({ root, resource, object, signal, changed }) {
  const told = h('div', { id: 'rollout' });
  const list = h('div', {});
  fill(root, told, list);
  let seen = '';
  const show = async (now) => {
    const { done, failed, text } = rollout(resource.kind, now);
    fill(told, message(failed ? 'bad' : done ? 'good' : 'warn', done ? 'Rolled out. ' : 'Rolling out. ', text));
    // The list is another one when the template is.
    const key = JSON.stringify([now.metadata.generation, now.status?.observedGeneration, now.status?.updateRevision, now.metadata.annotations]);
    if (key === seen) return;
    seen = key;
    const all = await revisions(resource, now);
    if (signal.aborted) return;
    fill(list, table('Revisions', ['Revision', 'Name', 'Images', 'Age', ''], all.map((one, at) => [
      String(one.revision), one.name, one.images, age(one.created),
      at === 0 ? 'current' : h('button', { onclick: () => undo(now, one) }, 'Go back to this'),
    ])));
  };
  const undo = (now, one) => confirm({
    title: `Put ${now.metadata.name} back to revision ${one.revision}?`,
    fields: [h('p', {}, `Its pods are replaced by such of ${one.images}.`)],
    action: 'Go back',
    act: async () => { await one.undo(); toast('good', `${now.metadata.name} goes back to revision ${one.revision}`); },
  });
  changed((now) => show(now).catch(() => {}));
  await show(object);
}
