// The whole YAML of an object, as the server writes it.

import { getYaml } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { withoutManagers } from '../lib/yaml.js';

export async function yamlTab({ root, path, signal, changed }) {
  const text = h('pre', { class: 'text', tabindex: '0', 'aria-label': 'YAML', id: 'yaml' });
  const managers = h('input', { type: 'checkbox', onchange: () => show() });
  let whole = '';
  const show = () => fill(text, managers.checked ? whole : withoutManagers(whole));
  const load = async () => { whole = await getYaml(path, { signal }); show(); };
  fill(root,
    h('div', { class: 'tools' },
      h('label', {}, managers, 'who has set what (managedFields)'),
      h('button', { onclick: () => navigator.clipboard?.writeText(text.textContent) }, 'Copy')),
    text);
  changed(() => load().catch(() => {}));
  await load();
}
