// What the dashboard's page makes of the API server's answers. Run by e2e/tests/page.rs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flatten } from '../../src/addons/src/dashboard/page/lib/discovery.js';
import { age, bytes, cores, quantity } from '../../src/addons/src/dashboard/page/lib/format.js';
import { NEWEST, Rows } from '../../src/addons/src/dashboard/page/lib/rows.js';
import * as routes from '../../src/addons/src/dashboard/page/lib/routes.js';

const row = (name, cells, more = {}) => ({ cells: [name, ...cells], object: { metadata: { namespace: 'ns', name, ...more } } });
const table = (...rows) => ({ kind: 'Table', columnDefinitions: [{ name: 'Name' }, { name: 'Status' }, { name: 'Age' }], rows });

test('rows come, change and go', () => {
  const rows = new Rows();
  rows.reset([table(row('b', ['Running']), row('a10', ['Pending'])), table(row('a9', ['Running']))]);
  assert.deepEqual(rows.view(), ['ns/a9', 'ns/a10', 'ns/b'], 'numbers are ordered as such');
  rows.change('ADDED', { kind: 'Table', rows: [row('c', ['Pending'])] });
  rows.change('MODIFIED', { kind: 'Table', rows: [row('b', ['Failed'])] });
  rows.change('DELETED', { kind: 'Table', rows: [row('a9', ['Running'])] });
  assert.deepEqual(rows.view(), ['ns/a10', 'ns/b', 'ns/c']);
  assert.equal(rows.rows.get('ns/b').cells[1], 'Failed');
  assert.equal(rows.columns.length, 3, 'later tables of a watch have no columns');
  rows.reset([table()]);
  assert.deepEqual(rows.view(), []);
});

test('filters look at cells, names and labels', () => {
  const rows = new Rows();
  rows.reset([table(row('web', ['Running'], { labels: { app: 'shop' } }), row('db', ['Pending']))]);
  assert.deepEqual(rows.view('SHOP'), ['ns/web']);
  assert.deepEqual(rows.view('web running'), ['ns/web']);
  assert.deepEqual(rows.view('web pending'), []);
  assert.deepEqual(rows.view('app=shop'), ['ns/web']);
  assert.equal(rows.view('  ').length, 2);
});

test('columns sort, ages by what they mean', () => {
  const rows = new Rows();
  rows.reset([table(row('old', ['B', '9d'], { creationTimestamp: '2026-01-01T00:00:00Z' }), row('new', ['A', '10s'], { creationTimestamp: '2026-01-10T00:00:00Z' }))]);
  assert.deepEqual(rows.view('', 1), ['ns/new', 'ns/old']);
  assert.deepEqual(rows.view('', 2), ['ns/new', 'ns/old'], 'the youngest first');
  assert.deepEqual(rows.view('', NEWEST), ['ns/new', 'ns/old']);
  assert.deepEqual(rows.view('', 2, true), ['ns/old', 'ns/new']);
});

test('lists of servers that know no tables are shown, too', () => {
  const rows = new Rows();
  rows.reset([{ kind: 'PodMetricsList', items: [{ metadata: { namespace: 'ns', name: 'a' }, usage: {} }] }]);
  assert.deepEqual([rows.view(), rows.columns.map(({ name }) => name)], [['ns/a'], ['Name', 'Age']]);
  rows.change('ADDED', { kind: 'PodMetrics', metadata: { namespace: 'ns', name: 'b' } });
  assert.deepEqual(rows.view(), ['ns/a', 'ns/b']);
});

test('a resource is taken in the first version that has it', () => {
  const one = (resource, version) => ({ resource, responseKind: { group: 'g', version, kind: 'K' }, scope: 'Namespaced', verbs: ['list'], subresources: [{ subresource: 'scale' }] });
  const found = flatten([{ metadata: { name: 'g' }, versions: [{ version: 'v1', resources: [one('a', 'v1')] }, { version: 'v1beta1', resources: [one('a', 'v1beta1'), one('b', 'v1beta1')] }] },
    { metadata: {}, versions: [{ version: 'v1', resources: [] }] }]);
  assert.deepEqual(found.map(({ name, version, subresources }) => [name, version, subresources]), [['a', 'v1', ['scale']], ['b', 'v1beta1', ['scale']]]);
});

test('addresses say which view of what', () => {
  const resource = { group: 'a.b', name: 'things' };
  assert.deepEqual(routes.parse(routes.object(resource, '', 'system:x/y', 'yaml')),
    { view: 'object', group: 'a.b', resource: 'things', namespace: '', name: 'system:x/y', tab: 'yaml', query: {} });
  assert.deepEqual(routes.parse(routes.list({ group: '', name: 'pods' }, { labels: 'a in (b,c)', q: '' })).query, { labels: 'a in (b,c)' });
  assert.equal(routes.parse('').view, 'overview');
});

test('amounts and ages are for people', () => {
  assert.equal(quantity('250m'), 0.25);
  assert.equal(quantity('1500000n').toFixed(4), '0.0015');
  assert.equal(quantity('2Ki'), 2048);
  assert.equal(quantity('3M'), 3e6);
  assert.ok(Number.isNaN(quantity('x')) && Number.isNaN(quantity(undefined)));
  assert.deepEqual([cores(0.25), cores(0.0015), cores(2)], ['250m', '1.5m', '2.00']);
  assert.deepEqual([bytes(512), bytes(5 * 2 ** 20), bytes(200 * 2 ** 20)], ['512 B', '5.0 MiB', '200 MiB']);
  const now = Date.parse('2026-01-10T00:00:00Z');
  const ago = (seconds) => age(new Date(now - seconds * 1000).toISOString(), now);
  assert.deepEqual([5, 119, 185, 3600, 4 * 3600 + 120, 30 * 3600, 3 * 86400, 9 * 86400].map(ago), ['5s', '119s', '3m5s', '60m', '4h2m', '30h', '3d', '9d']);
  assert.equal(age('nonsense', now), '');
});
