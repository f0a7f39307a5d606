// What the page has to know of YAML texts. The API server reads and writes YAML itself; what is here finds lines by their
// indentation, in the form in which the API server and people write manifests.

/** What the server sets and nobody edits. */
const SET_BY_SERVER = ['managedFields', 'resourceVersion', 'uid', 'creationTimestamp', 'generation', 'selfLink'];

/** The documents of a text. */
export const documents = (text) =>
  text.split(/^---(?:[ \t].*)?$/m).filter((one) => one.split('\n').some((line) => line.trim() && !/^\s*#/.test(line)));

/** A text without the block of a key at this indentation, below `parent` when one is named. */
function without(text, key, parent) {
  const indent = parent ? 2 : 0;
  const start = new RegExp(`^ {${indent}}["']?${key}["']?:`);
  let inside = !parent;
  let skipping = false;
  return text.split('\n').filter((line) => {
    if (parent && /^\S/.test(line) && !line.startsWith('#')) inside = new RegExp(`^["']?${parent}["']?:`).test(line);
    if (skipping && (line.trim() === '' || line.search(/\S/) > indent || line.startsWith(`${' '.repeat(indent)}- `))) return false;
    skipping = inside && start.test(line);
    return !skipping;
  }).join('\n');
}

/** Without the list of who has set what. */
export const withoutManagers = (text) => without(text, 'managedFields', 'metadata');

/** What somebody would edit: without status, and without what the server sets. */
export const editable = (text) =>
  text && `${SET_BY_SERVER.reduce((rest, key) => without(rest, key, 'metadata'), without(text, 'status')).trimEnd()}\n`;

/** With a version in its metadata, so that it replaces no other. */
export const withVersion = (text, version) => text.replace(/^metadata:[ \t]*$/m, `metadata:\n  resourceVersion: ${JSON.stringify(version)}`);

const scalar = (text) => {
  const value = text.trim().replace(/\s+#.*$/, '');
  if (value.startsWith('"')) { try { return JSON.parse(value); } catch { return value; } }
  return value.startsWith("'") ? value.slice(1, -1).replaceAll("''", "'") : value;
};

/** What a manifest is of: `{apiVersion, kind, name, namespace}`; what it does not say is empty. */
export function identity(text) {
  if (text.trim().startsWith('{')) {
    const { apiVersion = '', kind = '', metadata = {} } = JSON.parse(text);
    return { apiVersion, kind, name: metadata.name ?? '', namespace: metadata.namespace ?? '' };
  }
  const top = (key) => scalar(new RegExp(`^["']?${key}["']?:(.*)$`, 'm').exec(text)?.[1] ?? '');
  const inline = /^metadata:\s*\{(.*)\}\s*$/m.exec(text)?.[1];
  const block = /^metadata:[ \t]*(?:#.*)?\n((?:[ \t]+.*\n?|[ \t]*#.*\n?|\n)*)/m.exec(text)?.[1] ?? '';
  const indent = /^( +)\S/m.exec(block)?.[1] ?? '';
  const meta = (key) => scalar(inline !== undefined
    ? new RegExp(`(?:^|,)\\s*["']?${key}["']?:([^,}]*)`).exec(inline)?.[1] ?? ''
    : new RegExp(`^${indent}["']?${key}["']?:(.*)$`, 'm').exec(block)?.[1] ?? '');
  return { apiVersion: top('apiVersion'), kind: top('kind'), name: meta('name'), namespace: meta('namespace') };
}

/**
 * As much of YAML as kubeconfigs and the API server's errors are written in: blocks of maps and lists, plain and quoted
 * scalars. Throws at what is more.
 */
export function blocks(text) {
  const lines = text.split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line.trim() && !/^\s*#/.test(line) && !/^(---|\.\.\.)/.test(line))
    .map((line) => ({ indent: line.search(/\S/), text: line.trim() }));
  let at = 0;
  const scalar = (value) => {
    if (value === '{}') return {};
    if (value === '[]') return [];
    if (value.startsWith('"')) return JSON.parse(value);
    if (value.startsWith("'")) return value.slice(1, -1).replaceAll("''", "'");
    return value === 'null' || value === '~' ? null : value.replace(/\s+#.*$/, '');
  };
  const value = (indent, rest) => {
    if (rest !== '') return scalar(rest);
    const next = lines[at];
    if (!next || next.indent < indent || (next.indent === indent && !next.text.startsWith('- '))) return null;
    return next.text.startsWith('-') ? list(next.indent) : map(next.indent);
  };
  const map = (indent) => {
    const found = {};
    while (lines[at]?.indent === indent && !lines[at].text.startsWith('- ')) {
      const [, key, rest] = /^("[^"]*"|'[^']*'|[^:]+):(?:\s+(.*))?$/.exec(lines[at].text) ?? [];
      if (key === undefined) throw new Error(`this line is not understood: ${lines[at].text.slice(0, 40)}`);
      at += 1;
      found[scalar(key)] = value(indent, rest ?? '');
    }
    return found;
  };
  const list = (indent) => {
    const found = [];
    while (lines[at]?.indent === indent && /^-(\s|$)/.test(lines[at].text)) {
      const rest = lines[at].text.slice(1).trimStart();
      if (/^[^"'{[][^:]*:(\s|$)/.test(rest)) {
        // The item is a map, whose first line stands behind the dash.
        const inner = indent + (lines[at].text.length - rest.length);
        lines[at] = { indent: inner, text: rest };
        found.push(map(inner));
      } else {
        at += 1;
        found.push(value(indent + 1, rest));
      }
    }
    return found;
  };
  return lines.length ? value(-1, '') : null;
}
