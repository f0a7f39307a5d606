// What can be done with an object besides looking at it and editing it.

import { JSON_PATCH, MERGE, STRATEGIC, ask, get, send } from './lib/api.js';
import * as discovery from './lib/discovery.js';
import { h, toast } from './lib/dom.js';
import * as routes from './lib/routes.js';
import { confirm } from './dialog.js';

/** kubectl's annotation: a changed template makes new pods. */
const RESTARTED = 'kubectl.kubernetes.io/restartedAt';
const RESTARTABLE = ['Deployment', 'StatefulSet', 'DaemonSet'];

/** The actions that an object has, as `[name, text, key]`. */
export function actionsOf(resource, object) {
  const can = (verb) => resource.verbs.includes(verb);
  const found = [];
  if (resource.subresources.includes('scale')) found.push(['scale', 'Scale', 's']);
  if (resource.group === 'apps' && RESTARTABLE.includes(resource.kind)) found.push(['restart', 'Restart', 'r']);
  if (resource.kind === 'Deployment') found.push(object.spec?.paused ? ['resume', 'Resume'] : ['pause', 'Pause']);
  if (resource.kind === 'CronJob') found.push(object.spec?.suspend ? ['unsuspend', 'Resume'] : ['suspend', 'Suspend']);
  if (resource.kind === 'Node') found.push(object.spec?.unschedulable ? ['uncordon', 'Uncordon'] : ['cordon', 'Cordon']);
  if (can('delete')) found.push(['delete', 'Delete', 'Delete']);
  return found;
}

/** Begins an action: asks what has to be asked, does it, and says so. */
export function open(name, resource, object) {
  const { namespace, name: objectName } = object.metadata;
  const path = discovery.item(resource, namespace, objectName);
  const called = `${resource.kind} ${objectName}`;
  const patch = (value, type = MERGE) => send('PATCH', path, value, type);
  const sure = (title, action, done, act, fields = []) => confirm({
    title, action, fields, danger: name === 'delete', act: async () => { await act(); toast('good', done); },
  });
  switch (name) {
    case 'scale': return scale(path, called);
    case 'restart': {
      const annotations = { [RESTARTED]: new Date().toISOString() };
      return sure(`Restart all pods of ${called}?`, 'Restart', `${called} is restarting`,
        () => patch({ spec: { template: { metadata: { annotations } } } }, STRATEGIC));
    }
    case 'pause': case 'resume':
      return sure(`${name === 'pause' ? 'Pause' : 'Resume'} the rollout of ${called}?`, name === 'pause' ? 'Pause' : 'Resume', `${called}: done`,
        () => patch({ spec: { paused: name === 'pause' } }));
    case 'suspend': case 'unsuspend':
      return sure(`${name === 'suspend' ? 'Suspend' : 'Resume'} ${called}?`, name === 'suspend' ? 'Suspend' : 'Resume', `${called}: done`,
        () => patch({ spec: { suspend: name === 'suspend' } }));
    case 'cordon': case 'uncordon':
      return sure(`${name === 'cordon' ? 'Let no more pods onto' : 'Let pods again onto'} ${called}?`, name === 'cordon' ? 'Cordon' : 'Uncordon', `${called}: done`,
        () => patch({ spec: { unschedulable: name === 'cordon' } }, STRATEGIC));
    case 'delete': {
      const policy = h('select', { 'aria-label': 'What it owns' },
        h('option', { value: 'Background' }, 'is deleted after it'), h('option', { value: 'Foreground' }, 'is deleted before it'), h('option', { value: 'Orphan' }, 'stays'));
      return sure(`Delete ${called}?`, 'Delete', `${called} is being deleted`,
        () => ask(path, { method: 'DELETE', type: 'application/json', body: JSON.stringify({
          apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: policy.value, preconditions: { uid: object.metadata.uid },
        }) }),
        [h('p', {}, namespace ? `In the namespace ${namespace}. ` : '', 'This cannot be undone here.'), h('label', { class: 'field' }, h('span', {}, 'What it owns'), policy)]);
    }
    default: throw new Error(`no action ${name}`);
  }
}

async function scale(path, called) {
  try {
    const now = await get(`${path}/scale`);
    const input = h('input', { type: 'number', min: '0', step: '1', required: true, id: 'replicas', value: String(now.spec?.replicas ?? 0) });
    confirm({
      title: `Scale ${called}`,
      action: 'Scale',
      fields: [h('label', { class: 'field' }, h('span', {}, `Replicas (now ${now.spec?.replicas ?? 0} wanted, ${now.status?.replicas ?? 0} there)`), input)],
      act: async () => {
        await send('PATCH', `${path}/scale`, { spec: { replicas: Number(input.value) } }, MERGE);
        toast('good', `${called} is scaled to ${input.value}`);
      },
    });
    input.select();
  } catch (error) {
    toast('bad', error.message);
  }
}

/** The revisions that a workload can go back to, the newest first: `{revision, name, created, images, undo}`. */
export async function revisions(resource, object) {
  const { namespace, uid, name } = object.metadata;
  const path = discovery.item(resource, namespace, name);
  const owned = (one) => one.metadata.ownerReferences?.some((owner) => owner.uid === uid);
  const listed = async (kind) => {
    const list = await get(discovery.collection(discovery.find('apps', kind), namespace));
    return list.items.filter(owned);
  };
  const images = (template) => (template?.spec?.containers ?? []).map((one) => one.image).join(', ');
  let found;
  if (resource.kind === 'Deployment') {
    found = (await listed('replicasets')).map((set) => {
      const template = structuredClone(set.spec.template);
      delete template.metadata?.labels?.['pod-template-hash'];
      return {
        revision: Number(set.metadata.annotations?.['deployment.kubernetes.io/revision'] ?? 0),
        name: set.metadata.name,
        created: set.metadata.creationTimestamp,
        images: images(template),
        undo: () => send('PATCH', path, [{ op: 'replace', path: '/spec/template', value: template }], JSON_PATCH),
      };
    });
  } else {
    found = (await listed('controllerrevisions')).map((one) => ({
      revision: one.revision,
      name: one.metadata.name,
      created: one.metadata.creationTimestamp,
      images: images(one.data?.spec?.template),
      undo: () => send('PATCH', path, one.data, STRATEGIC),
    }));
  }
  return found.sort((a, b) => b.revision - a.revision);
}

/** How far a rollout is, in a sentence, and whether it is done: what `kubectl rollout status` tells. */
export function rollout(kind, { metadata, spec = {}, status = {} }) {
  if ((status.observedGeneration ?? 0) < metadata.generation) return { done: false, text: 'The change has not been seen yet.' };
  if (kind === 'DaemonSet') {
    const { desiredNumberScheduled: all = 0, updatedNumberScheduled: updated = 0, numberAvailable: available = 0 } = status;
    return { done: updated >= all && available >= all, text: `${updated} of ${all} pods are of the newest revision, ${available} are available.` };
  }
  const { updatedReplicas: updated = 0, replicas = 0 } = status;
  const wanted = spec.replicas ?? 1;
  const available = (kind === 'StatefulSet' ? status.readyReplicas : status.availableReplicas) ?? 0;
  const late = (status.conditions ?? []).find((one) => one.type === 'Progressing' && one.reason === 'ProgressDeadlineExceeded');
  if (late) return { done: false, failed: true, text: `It does not get on: ${late.message}` };
  const done = updated >= wanted && replicas <= Math.max(updated, wanted) && available >= wanted;
  return { done, text: `${updated} of ${wanted} pods are of the newest revision, ${available} are available${replicas > updated ? `, ${replicas - updated} old ones are left` : ''}.` };
}

/** Where an owner is shown; nothing when the cluster does not have its kind. */
export function linkTo(reference, namespace) {
  const resource = discovery.ofKind(reference.apiVersion, reference.kind);
  return resource && routes.object(resource, resource.namespaced ? namespace : '', reference.name);
}
