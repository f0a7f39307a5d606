// Elements, without any text ever becoming HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: properties that begin with `on` are listeners, `data`, `aria` and `class` are attributes. */
export function h(tag, properties, ...children) {
  return made(document.createElement(tag), properties, children);
}

/** The same for pictures. */
export function svg(tag, attributes, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== 'string' && element.namespaceURI !== SVG) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...there(children));
  return element;
}

/** Children may be lists of lists; what is not there is left out. */
const there = (children) => children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false && child !== 0);

/** Puts children in place of what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...there(children));
  return element;
}

/** Something to be told: `kind` is `good`, `bad` or `warn`. Screen readers say it. */
export function message(kind, ...text) {
  return h('div', { class: `message ${kind}`, role: kind === 'bad' ? 'alert' : 'status' }, ...text);
}

/** Tells something in a corner, for a while. */
export function toast(kind, text) {
  const box = message(kind, text);
  document.getElementById('toasts')?.append(box);
  setTimeout(() => box.remove(), kind === 'bad' ? 12000 : 5000);
}
