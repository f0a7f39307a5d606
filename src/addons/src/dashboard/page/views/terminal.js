// A terminal in a container.

import { exec } from '../lib/exec.js';
import { bytesOf } from '../lib/keys.js';
import { Screen } from '../lib/screen.js';
import { fill, h, message } from '../lib/dom.js';

const LINE_HEIGHT = 17;
/** The best shell that there is. */
const SHELL = ['sh', '-c', 'TERM=xterm-256color; export TERM; command -v bash >/dev/null 2>&1 && exec bash || exec sh'];

export async function terminalTab({ root, object, signal }) {
  const { namespace, name } = object.metadata;
  const containers = object.spec.containers.map((one) => one.name);
  const container = h('select', { 'aria-label': 'Container' }, containers.map((one) => h('option', {}, one)));
  const command = h('input', { 'aria-label': 'Command', placeholder: 'a shell', spellcheck: 'false', autocomplete: 'off' });
  const connect = h('button', { id: 'connect', onclick: () => start() }, 'Connect anew');
  const told = h('div', {});
  const lines = h('div', { id: 'screen', role: 'log', 'aria-live': 'off', 'aria-label': 'Output' });
  const input = h('textarea', { id: 'keys', 'aria-label': 'Terminal: type here, leave with Shift Escape', autocapitalize: 'off', autocomplete: 'off', spellcheck: 'false' });
  const ruler = h('span', { class: 'measure', 'aria-hidden': 'true' }, 'M'.repeat(50));
  const box = h('div', { class: 'terminal' }, input, lines, ruler);
  fill(root, h('div', { class: 'tools' }, containers.length > 1 && container, command, connect,
    h('span', { class: 'dim' }, h('kbd', {}, 'Shift'), ' ', h('kbd', {}, 'Escape'), ' leaves the terminal')), told, box);

  let program;
  let screen;
  let planned = false;

  const size = () => {
    const width = ruler.getBoundingClientRect().width / 50 || 8;
    const columns = Math.floor((box.clientWidth - 18) / width);
    return [Math.max(20, Math.min(columns, 400)), Math.max(6, Math.min(Math.floor((box.clientHeight - 16) / LINE_HEIGHT), 200))];
  };

  function draw() {
    planned = false;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 2 * LINE_HEIGHT;
    const { scrollback } = screen;
    const all = screen.main ? screen.lines : [...scrollback, ...screen.lines];
    const cursorLine = (screen.main ? 0 : scrollback.length) + screen.y;
    while (lines.children.length > all.length) lines.lastElementChild.remove();
    all.forEach((line, at) => {
      const cursor = at === cursorLine && screen.modes.cursor ? Math.min(screen.x, screen.columns - 1) : -1;
      // Above the screen nothing changes any more, but when the oldest lines go.
      const known = lines.children[at];
      if (known && known.line === line && at < all.length - screen.rows) return;
      const element = h('div', { class: 'line' }, screen.pieces(line, cursor).map(piece));
      element.line = line;
      if (known) known.replaceWith(element); else lines.append(element);
    });
    if (atEnd || screen.main) box.scrollTop = box.scrollHeight;
  }

  const plan = () => { if (!planned) { planned = true; requestAnimationFrame(draw); } };

  function start() {
    program?.close();
    fill(told);
    const [columns, rows] = size();
    const decoder = new TextDecoder();
    const own = exec({
      namespace, pod: name, container: container.value || containers[0],
      command: command.value.trim() ? command.value.trim().split(/\s+/) : SHELL,
      opened: () => own.resize(...size()),
      output: (bytes) => { if (program === own) { screen.write(decoder.decode(bytes, { stream: true })); plan(); } },
      ended: (why) => { if (program === own && !signal.aborted) { program = undefined; fill(told, message('warn', why)); } },
    });
    program = own;
    screen = new Screen(columns, rows, (text) => own.input(text));
    plan();
    input.focus();
  }

  const typed = (text) => { program?.input(text); box.scrollTop = box.scrollHeight; };
  input.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Escape' && event.shiftKey) { connect.focus(); event.preventDefault(); return; }
    if (event.isComposing) return;
    const bytes = bytesOf(event, screen.modes.applicationKeys);
    if (bytes === undefined) return;
    event.preventDefault();
    typed(bytes);
  });
  input.addEventListener('input', (event) => {
    if (event.isComposing) return;
    if (input.value) typed(input.value);
    input.value = '';
  });
  input.addEventListener('paste', (event) => {
    event.preventDefault();
    const text = event.clipboardData.getData('text').replace(/\r?\n/g, '\r');
    typed(screen.modes.paste ? `\x1b[200~${text.replaceAll('\x1b', '')}\x1b[201~` : text);
  });
  box.addEventListener('click', () => { if (!getSelection().toString()) input.focus(); });
  const observer = new ResizeObserver(() => {
    const [columns, rows] = size();
    if (columns === screen.columns && rows === screen.rows) return;
    screen.resize(columns, rows);
    program?.resize(columns, rows);
    plan();
  });
  signal.addEventListener('abort', () => { observer.disconnect(); program?.close(); }, { once: true });
  start();
  observer.observe(box);
}

/** A piece of a line: colours are set by the style object, which the page's policy allows, not by an attribute. */
function piece({ text, style, cursor }) {
  const names = [style.bold && 'b', style.italic && 'i', style.underline && 'u', style.faint && 'f', cursor && 'cursor'].filter(Boolean);
  if (!names.length && !style.fore && !style.back && !style.inverse) return text;
  const element = h('span', { class: names.join(' ') }, text);
  if (cursor) return element;
  const fore = style.inverse ? style.back ?? 'var(--terminal)' : style.fore;
  const back = style.inverse ? style.fore ?? 'var(--terminal-text)' : style.back;
  if (fore) element.style.color = fore;
  if (back) element.style.backgroundColor = back;
  return element;
}
