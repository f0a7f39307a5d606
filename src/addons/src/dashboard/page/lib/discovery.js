// What kinds of objects the cluster has, custom ones too.

import { get } from './api.js';

const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';

let resources = [];

/** All resources that can be listed, each in the version that its group prefers. */
export const all = () => resources;

/** Asks the cluster. */
export async function load() {
  const [core, groups] = await Promise.all(['/api', '/apis'].map((path) => get(path, { accept: AGGREGATED })));
  resources = flatten([...core.items, ...groups.items]);
}

/** The resources of discovery documents: of each, the first version that has it. */
export function flatten(groups) {
  const found = [];
  for (const { metadata, versions } of groups) {
    const group = metadata?.name ?? '';
    const seen = new Set();
    for (const { version, resources: served } of versions ?? []) {
      for (const one of served ?? []) {
        if (seen.has(one.resource)) continue;
        seen.add(one.resource);
        found.push({
          group,
          version,
          name: one.resource,
          kind: one.responseKind?.kind ?? one.resource,
          namespaced: one.scope === 'Namespaced',
          verbs: one.verbs ?? [],
          short: one.shortNames ?? [],
          subresources: (one.subresources ?? []).map((sub) => sub.subresource),
        });
      }
    }
  }
  return found;
}

/** Those that have a list, which is what the page shows. */
export const listed = () => resources.filter((one) => one.verbs.includes('list'));

/** By group and plural name; any version. */
export const find = (group, name) => resources.find((one) => one.group === group && one.name === name);

/** By `apiVersion` and kind; nothing when there is none of that version. */
export function ofKind(apiVersion, kind) {
  const [group, version] = split(apiVersion);
  const same = (one) => one.group === group && one.kind === kind;
  const found = resources.find((one) => same(one) && one.version === version) ?? resources.find(same);
  return found && { ...found, version };
}

/** Group and version of an `apiVersion`. */
export function split(apiVersion) {
  const at = apiVersion.indexOf('/');
  return at < 0 ? ['', apiVersion] : [apiVersion.slice(0, at), apiVersion.slice(at + 1)];
}

/** `apiVersion` of a resource. */
export const apiVersion = (resource) => (resource.group ? `${resource.group}/${resource.version}` : resource.version);

/** Path of a collection: of a namespace, or of all. */
export function collection(resource, namespace) {
  const base = resource.group ? `/apis/${resource.group}/${resource.version}` : `/api/${resource.version}`;
  const middle = resource.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${base}${middle}/${resource.name}`;
}

/** Path of an object. */
export const item = (resource, namespace, name) => `${collection(resource, namespace)}/${encodeURIComponent(name)}`;
