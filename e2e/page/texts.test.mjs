// What the dashboard's page knows of texts: differences, YAML, kubeconfigs. Run by e2e/tests/page.rs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { around, diff } from '../../src/addons/src/dashboard/page/lib/diff.js';
import { tokenOf } from '../../src/addons/src/dashboard/page/lib/kubeconfig.js';
import { blocks, documents, editable, identity, withVersion, withoutManagers } from '../../src/addons/src/dashboard/page/lib/yaml.js';

const marks = (before, after) => diff(before, after).map(({ kind, text }) => `${{ same: ' ', added: '+', removed: '-' }[kind]}${text}`);

test('a difference keeps the longest common part', () => {
  assert.deepEqual(marks('a\nb\nc\n', 'a\nx\nc\n'), [' a', '-b', '+x', ' c']);
  assert.deepEqual(marks('', 'a\n'), ['+a']);
  assert.deepEqual(marks('a\n', ''), ['-a']);
  assert.deepEqual(marks('a\nb\n', 'a\nb'), [' a', ' b'], 'the last line end does not count');
  assert.deepEqual(marks('a\nb\nc\nd\ne\n', 'b\nd\nx\ne\n'), ['-a', ' b', '-c', ' d', '+x', ' e']);
});

test('applying a difference to the text before makes the text after', () => {
  let seed = 7;
  const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below; };
  for (let round = 0; round < 300; round += 1) {
    const text = () => Array.from({ length: random(12) }, () => 'abc'[random(3)]);
    const [a, b] = [text(), text()];
    const all = diff(a.join('\n'), b.join('\n'));
    const kept = (...kinds) => all.filter(({ kind }) => kinds.includes(kind)).map((line) => line.text);
    assert.deepEqual(kept('same', 'removed'), a);
    assert.deepEqual(kept('same', 'added'), b);
  }
});

test('only what is near a change is shown', () => {
  const before = Array.from({ length: 20 }, (_, at) => `line ${at}`);
  const after = before.with(10, 'other');
  const shown = around(diff(before.join('\n'), after.join('\n')));
  assert.deepEqual(shown.map(({ kind, count }) => (kind === 'gap' ? count : kind)), [7, 'same', 'same', 'same', 'removed', 'added', 'same', 'same', 'same', 6]);
});

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata:
  creationTimestamp: "2026-11-21T20:11:52Z"
  generation: 2
  labels:
    app: web
  managedFields:
  - apiVersion: apps/v1
    fieldsV1:
      "f:metadata":
        "f:labels": {}
    manager: kubectl
  name: web
  namespace: default
  resourceVersion: "12"
  uid: 1-2-3
spec:
  template:
    metadata:
      creationTimestamp: null
      name: inner
status:
  replicas: 1
  conditions:
  - type: Available
`;

test('what the server sets is not edited', () => {
  assert.equal(editable(DEPLOYMENT), `apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    app: web
  name: web
  namespace: default
spec:
  template:
    metadata:
      creationTimestamp: null
      name: inner
`);
  assert.ok(!withoutManagers(DEPLOYMENT).includes('kubectl'));
  assert.ok(withoutManagers(DEPLOYMENT).includes('uid: 1-2-3') && withoutManagers(DEPLOYMENT).includes('conditions:'));
  assert.match(withVersion(editable(DEPLOYMENT), '12'), /^metadata:\n {2}resourceVersion: "12"\n {2}labels:/m);
});

test('a block of text that looks like YAML is left alone', () => {
  const text = 'kind: ConfigMap\nmetadata:\n  name: a\ndata:\n  status: up\n  file: |\n    uid: 5\n    status:\n      x: 1\n';
  assert.equal(editable(text), text);
});

test('a manifest says what it is of', () => {
  assert.deepEqual(identity(DEPLOYMENT), { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', namespace: 'default' });
  assert.deepEqual(identity('metadata:\n    namespace: "x"  # why\n    labels:\n        name: other\n    name: \'it\'\'s\'\nkind: Pod # a pod\napiVersion: v1\n'),
    { apiVersion: 'v1', kind: 'Pod', name: "it's", namespace: 'x' });
  assert.deepEqual(identity('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}'), { apiVersion: 'v1', kind: 'Pod', name: 'a', namespace: '' });
  assert.deepEqual(identity('apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n'), { apiVersion: 'v1', kind: 'Pod', name: 'a', namespace: 'b' });
  assert.equal(identity('kind: Pod\nspec:\n  name: no\n').name, '');
});

test('documents are divided by lines of dashes', () => {
  assert.deepEqual(documents('a: 1\n---\nb: 2\n').map((one) => one.trim()), ['a: 1', 'b: 2']);
  assert.equal(documents('# a remark\n---\n\n---\na: 1\n--- # more\nb: |\n  x\n  ---y\n').length, 2);
  assert.deepEqual(documents(''), []);
});

test('the blocks of YAML are read', () => {
  assert.deepEqual(blocks('a: 1\nb:\n- x\n- y: 2\n  z: "q\\n"\nc:\n  d: \'it\'\'s\'\n  e: {}\n  f: []\ng:\nh: a: b\n'), {
    a: '1', b: ['x', { y: '2', z: 'q\n' }], c: { d: "it's", e: {}, f: [] }, g: null, h: 'a: b',
  });
  assert.deepEqual(blocks('- a\n- b: 1\n-\n  c: 2\n'), ['a', { b: '1' }, { c: '2' }]);
  assert.throws(() => blocks('no colon here'));
});

const kubeconfig = (user) => `apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://x"}
  name: c
contexts:
- context:
    cluster: c
    user: me
  name: here
- name: there
  context:
    user: other
current-context: here
users:
- name: other
  user: {}
- name: me
  user:
    ${user}
`;

test('the token of the current context is found', () => {
  assert.equal(tokenOf(kubeconfig('token: abc.def')), 'abc.def');
  assert.equal(tokenOf(JSON.stringify({
    'current-context': 'x', contexts: [{ name: 'x', context: { user: 'u' } }], users: [{ name: 'u', user: { token: 't' } }],
  })), 't');
});

test('what cannot be used is told why', () => {
  assert.throws(() => tokenOf(kubeconfig('client-certificate-data: eA==')), /must not leave your machine/);
  assert.throws(() => tokenOf(kubeconfig('exec:\n      command: aws')), /program/);
  assert.throws(() => tokenOf(kubeconfig('username: x')), /no token/);
  assert.throws(() => tokenOf('kind: Pod\n'), /no kubeconfig/);
});
