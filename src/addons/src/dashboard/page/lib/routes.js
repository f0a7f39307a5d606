// What is behind the `#` of the address: which view, of what.
//
//   #/                                           overview
//   #/list/GROUP/RESOURCE?q=TEXT&labels=SELECTOR a list; the core group is `-`
//   #/object/GROUP/RESOURCE/NAMESPACE/NAME/TAB   an object; `-` for no namespace
//   #/edit/GROUP/RESOURCE/NAMESPACE/NAME         its editor
//   #/create                                     an empty editor

const part = (text) => encodeURIComponent(text || '-');
const read = (text) => { const name = decodeURIComponent(text ?? ''); return name === '-' ? '' : name; };

/** The route of a list. */
export function list(resource, query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/list/${part(resource.group)}/${part(resource.name)}${parameters ? `?${parameters}` : ''}`;
}

/** The route of an object. */
export const object = (resource, namespace, name, tab = '') =>
  `#/object/${part(resource.group)}/${part(resource.name)}/${part(namespace)}/${part(name)}${tab && `/${tab}`}`;

/** The route of its editor. */
export const edit = (resource, namespace, name) =>
  `#/edit/${part(resource.group)}/${part(resource.name)}/${part(namespace)}/${part(name)}`;

/** What an address says. */
export function parse(hash) {
  const [path, query] = hash.replace(/^#?\/?/, '').split('?');
  const [view, group, resource, namespace, name, tab] = path.split('/');
  return {
    view: view || 'overview',
    group: read(group),
    resource: read(resource),
    namespace: read(namespace),
    name: read(name),
    tab: tab ?? '',
    query: Object.fromEntries(new URLSearchParams(query ?? '')),
  };
}
