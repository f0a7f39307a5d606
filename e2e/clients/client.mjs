// The JavaScript client: create, watch, patch, apply, exec in a namespace of its own. Any failed step ends the program.

import assert from 'node:assert/strict';
import { Writable } from 'node:stream';

const k8s = await import(`${process.env.KNARR_TOOLS}/javascript/node_modules/@kubernetes/client-node/dist/index.js`);

const namespace = 'javascript';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

const configMap = (name, data = {}) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
const sentAs = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);
const refused = (code, text, call) =>
  assert.rejects(call, (error) => error.code === code && String(error.body).includes(text));

await core.createNamespace({ body: { metadata: { name: namespace } } });
await core.createNamespacedConfigMap({ namespace, body: configMap('first', { a: '1' }) });
await refused(409, 'AlreadyExists', () => core.createNamespacedConfigMap({ namespace, body: configMap('first') }));
await refused(404, 'NotFound', () => core.readNamespacedConfigMap({ namespace, name: 'none' }));

// A watch from where a list ended tells each change once and in order.
const start = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
const seen = [];
const done = new Promise((resolve, reject) => {
  new k8s.Watch(config)
    .watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { resourceVersion: start },
      (type, object) => {
        if (object.metadata.name === 'second') seen.push(type);
        if (type === 'DELETED') resolve();
      },
      (error) => reject(error ?? new Error('the watch ended early')),
    )
    .catch(reject);
});
await core.createNamespacedConfigMap({ namespace, body: configMap('second') });
await core.patchNamespacedConfigMap(
  { namespace, name: 'second', body: { data: { b: '2' } } },
  sentAs(k8s.PatchStrategy.MergePatch),
);
await core.deleteNamespacedConfigMap({ namespace, name: 'second' });
await done;
assert.deepEqual(seen, ['ADDED', 'MODIFIED', 'DELETED']);

let patched = await core.patchNamespacedConfigMap(
  { namespace, name: 'first', body: [{ op: 'replace', path: '/data/a', value: '2' }] },
  sentAs(k8s.PatchStrategy.JsonPatch),
);
assert.deepEqual(patched.data, { a: '2' });
const labels = { app: 'web' };
await apps.createNamespacedDeployment({
  namespace,
  body: {
    metadata: { name: 'web' },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'one', image: 'busybox' }] } },
    },
  },
});
const web = await apps.patchNamespacedDeployment(
  { namespace, name: 'web', body: { spec: { template: { spec: { containers: [{ name: 'two', image: 'busybox' }] } } } } },
  sentAs(k8s.PatchStrategy.StrategicMergePatch),
);
assert.deepEqual(web.spec.template.spec.containers.map((c) => c.name).sort(), ['one', 'two']);

const apply = (fieldManager, data, force = false) =>
  core.patchNamespacedConfigMap(
    { namespace, name: 'applied', body: configMap('applied', data), fieldManager, force },
    sentAs(k8s.PatchStrategy.ServerSideApply),
  );
assert.deepEqual((await apply('one', { a: '1' })).data, { a: '1' });
await refused(409, 'conflict with', () => apply('two', { a: '2' }));
assert.deepEqual((await apply('two', { a: '2' }, true)).data, { a: '2' });

await core.createNamespacedPod({
  namespace,
  body: {
    metadata: { name: 'shell' },
    spec: { containers: [{ name: 'c', image: 'busybox', command: ['sleep', 'infinity'] }] },
  },
});
await new Promise((resolve, reject) => {
  new k8s.Watch(config)
    .watch(
      `/api/v1/namespaces/${namespace}/pods`,
      { fieldSelector: 'metadata.name=shell' },
      (_, pod) => pod.status?.phase === 'Running' && resolve(),
      (error) => reject(error ?? new Error('the watch ended early')),
    )
    .catch(reject);
});
let output = '';
const sink = new Writable({
  write(chunk, _, next) {
    output += chunk;
    next();
  },
});
const status = await new Promise((resolve, reject) => {
  new k8s.Exec(config)
    .exec(namespace, 'shell', 'c', ['sh', '-c', 'echo out; exit 3'], sink, sink, null, false, resolve)
    .catch(reject);
});
assert.equal(output, 'out\n');
assert.equal(status.status, 'Failure');
assert.equal(status.details.causes.find((cause) => cause.reason === 'ExitCode').message, '3');
await core.deleteNamespace({ name: namespace });
console.log('client-node');
process.exit(0);
