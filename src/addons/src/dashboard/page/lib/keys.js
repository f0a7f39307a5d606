// What a terminal sends for a key.

const CURSOR = { ArrowUp: 'A', ArrowDown: 'B', ArrowRight: 'C', ArrowLeft: 'D', Home: 'H', End: 'F' };
const TILDE = { Insert: 2, Delete: 3, PageUp: 5, PageDown: 6, F5: 15, F6: 17, F7: 18, F8: 19, F9: 20, F10: 21, F11: 23, F12: 24 };
const FUNCTION = { F1: 'P', F2: 'Q', F3: 'R', F4: 'S' };
const PLAIN = { Enter: '\r', Backspace: '\x7f', Tab: '\t', Escape: '\x1b' };

/** The bytes of a key; undefined for what types text, which comes as text, and for the browser's own. */
export function bytesOf({ key, ctrlKey, altKey, shiftKey, metaKey }, applicationKeys = false) {
  if (metaKey) return undefined;
  const modifier = 1 + (shiftKey ? 1 : 0) + (altKey ? 2 : 0) + (ctrlKey ? 4 : 0);
  if (CURSOR[key]) return modifier > 1 ? `\x1b[1;${modifier}${CURSOR[key]}` : `\x1b${applicationKeys ? 'O' : '['}${CURSOR[key]}`;
  if (TILDE[key]) return modifier > 1 ? `\x1b[${TILDE[key]};${modifier}~` : `\x1b[${TILDE[key]}~`;
  if (FUNCTION[key]) return `\x1bO${FUNCTION[key]}`;
  if (key === 'Tab' && shiftKey) return '\x1b[Z';
  if (PLAIN[key]) return altKey ? `\x1b${PLAIN[key]}` : PLAIN[key];
  if (key.length !== 1) return undefined;
  if (ctrlKey && !altKey) {
    // Copying and pasting are the browser's, with Shift as terminals have it.
    if (shiftKey) return undefined;
    const code = key.toUpperCase().charCodeAt(0);
    if (key === ' ') return '\0';
    return code >= 64 && code <= 95 ? String.fromCharCode(code - 64) : undefined;
  }
  return altKey && !ctrlKey ? `\x1b${key}` : undefined;
}
