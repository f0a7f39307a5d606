// A terminal's screen: what a program's output makes of it. As much of ECMA-48 and of xterm's control sequences as shells,
// editors and pagers use. Nothing here knows the page.

const PLAIN = Object.freeze({});
const BLANK = Object.freeze({ text: ' ', style: PLAIN });
/** Lines above the screen that can be scrolled back to. */
const SCROLLBACK = 2000;
/** A control sequence that is longer is none. */
const LONGEST = 256;
/** DEC's line drawing, from ` on. */
const DRAWING = '◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·';
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const COMBINING = /^\p{Mark}|^[\u200b-\u200f\ufe00-\ufe0f]/u;

export class Screen {
  /** `reply` sends what the terminal answers to a program. */
  constructor(columns, rows, reply = () => {}) {
    this.columns = columns;
    this.rows = rows;
    this.reply = reply;
    this.clear();
  }

  /** As it is when it is switched on. */
  clear() {
    this.scrollback = [];
    this.lines = this.empty(this.rows);
    this.x = 0;
    this.y = 0;
    this.style = PLAIN;
    this.top = 0;
    this.bottom = this.rows - 1;
    this.saved = undefined;
    this.main = undefined;
    this.pending = '';
    this.modes = { wrap: true, cursor: true, insert: false, applicationKeys: false, paste: false };
    this.drawing = false;
    this.title = '';
  }

  empty(count) {
    return Array.from({ length: count }, () => this.blank());
  }

  blank() {
    return Array(this.columns).fill(BLANK);
  }

  /** Another size; what no longer fits above goes to what can be scrolled back to. */
  resize(columns, rows) {
    this.columns = columns;
    const fit = (line) => { while (line.length < columns) line.push(BLANK); line.length = columns; };
    while (this.lines.length > rows) {
      if (this.y < this.lines.length - 1) this.lines.pop();
      else { this.keep(this.lines.shift()); this.y -= 1; }
    }
    this.lines.push(...this.empty(rows - this.lines.length));
    this.lines.forEach(fit);
    if (this.main) {
      this.main.lines.length = Math.min(this.main.lines.length, rows);
      this.main.lines.push(...this.empty(rows - this.main.lines.length));
      this.main.lines.forEach(fit);
      this.main.y = Math.min(this.main.y, rows - 1);
    }
    this.rows = rows;
    this.top = 0;
    this.bottom = rows - 1;
    this.x = Math.min(this.x, columns);
    this.y = Math.min(this.y, rows - 1);
  }

  keep(line) {
    if (this.main) return;
    this.scrollback.push(line);
    if (this.scrollback.length > SCROLLBACK) this.scrollback.shift();
  }

  /** Output of a program; sequences may be cut anywhere. */
  write(text) {
    let rest = this.pending + text;
    this.pending = '';
    while (rest) {
      const control = rest.search(/[\x00-\x1f\x7f\x9b]/);
      if (control !== 0) {
        const end = control < 0 ? rest.length : control;
        this.print(rest.slice(0, end));
        rest = rest.slice(end);
        continue;
      }
      const used = rest[0] === '\x1b' || rest[0] === '\x9b' ? this.escape(rest) : this.control(rest[0]);
      if (used === 0) {
        // It goes on in the next piece, unless it is too long to be true.
        if (rest.length < LONGEST || rest[1] === ']') this.pending = rest.slice(0, 65536);
        return;
      }
      rest = rest.slice(used);
    }
  }

  print(text) {
    for (const one of text) {
      if (COMBINING.test(one)) { this.combine(one); continue; }
      const code = one.charCodeAt(0);
      const shown = this.drawing && code >= 0x60 && code <= 0x7e ? DRAWING[code - 0x60] : one;
      const width = WIDE.test(shown) && this.columns > 1 ? 2 : 1;
      if (this.x + width > this.columns) {
        if (this.modes.wrap) { this.x = 0; this.feed(); } else this.x = this.columns - width;
      }
      const line = this.lines[this.y];
      const cells = [{ text: shown, style: this.style }, { text: '', style: this.style }].slice(0, width);
      if (this.modes.insert) { line.splice(this.x, 0, ...cells); line.length = this.columns; } else line.splice(this.x, width, ...cells);
      this.x += width;
    }
  }

  combine(mark) {
    const at = this.x - 1;
    const cell = this.lines[this.y][at];
    if (cell && cell.text.length < 16) this.lines[this.y][at] = { ...cell, text: cell.text + mark };
  }

  control(one) {
    if (one === '\n' || one === '\v' || one === '\f') this.feed();
    else if (one === '\r') this.x = 0;
    else if (one === '\b') this.x = Math.max(0, Math.min(this.x, this.columns) - 1);
    else if (one === '\t') this.x = Math.min(this.columns - 1, (Math.floor(this.x / 8) + 1) * 8);
    else if (one === '\x0e' || one === '\x0f') this.drawing = false;
    return 1;
  }

  /** To the next line, which scrolls at the end. */
  feed() {
    if (this.y === this.bottom) this.scroll(1);
    else if (this.y < this.rows - 1) this.y += 1;
  }

  /** Moves the lines of the region up (or down, when negative). */
  scroll(count, top = this.top) {
    for (let i = 0; i < Math.min(Math.abs(count), this.rows); i += 1) {
      if (count > 0) {
        const [line] = this.lines.splice(top, 1);
        if (top === 0) this.keep(line);
        this.lines.splice(this.bottom, 0, this.blank());
      } else {
        this.lines.splice(this.bottom, 1);
        this.lines.splice(top, 0, this.blank());
      }
    }
  }

  /** A sequence that begins here; answers its length, 0 when its end has not come yet. */
  escape(text) {
    const csi = /^(?:\x1b\[|\x9b)([<-?]?)([\d;:]*)([ -/]*)([@-~])/.exec(text);
    if (csi) {
      if (!csi[3]) this.sequence(csi[4], csi[2].split(/[;:]/).map((one) => (one === '' ? undefined : Number(one))), csi[1]);
      else if (csi[3] === '!' && csi[4] === 'p') this.reset();
      return csi[0].length;
    }
    const command = /^\x1b[\]P^_X]([^\x07\x1b]*)(\x07|\x1b\\)/.exec(text);
    if (command) {
      if (text[1] === ']' && /^[02];/.test(command[1])) this.title = command[1].slice(2);
      return command[0].length;
    }
    const charset = /^\x1b([()*+])(.)/s.exec(text);
    if (charset) {
      if (charset[1] === '(') this.drawing = charset[2] === '0';
      return 3;
    }
    if (text.length === 1 || /^\x1b[[\]P^_X()*+]/.test(text) || text[0] === '\x9b') {
      // Something that is no sequence at all does not hold up what follows.
      return text.length > LONGEST && text[1] === '[' ? 1 : 0;
    }
    this.single(text[1]);
    return 2;
  }

  single(one) {
    if (one === '7') this.save();
    else if (one === '8') this.restore();
    else if (one === 'D') this.feed();
    else if (one === 'E') { this.x = 0; this.feed(); } else if (one === 'M') {
      if (this.y === this.top) this.scroll(-1); else this.y = Math.max(0, this.y - 1);
    } else if (one === 'c') this.clear();
  }

  reset() {
    this.style = PLAIN;
    this.top = 0;
    this.bottom = this.rows - 1;
    Object.assign(this.modes, { wrap: true, cursor: true, insert: false, applicationKeys: false });
  }

  save() { this.saved = { x: this.x, y: this.y, style: this.style }; }

  restore() {
    const { x, y, style } = this.saved ?? { x: 0, y: 0, style: PLAIN };
    Object.assign(this, { x: Math.min(x, this.columns), y: Math.min(y, this.rows - 1), style });
  }

  goTo(x, y) {
    this.x = Math.max(0, Math.min(this.columns - 1, x));
    this.y = Math.max(0, Math.min(this.rows - 1, y));
  }

  sequence(final, parameters, prefix) {
    const [first] = parameters;
    const n = Math.min(first || 1, 10000);
    if (prefix === '?') { if (final === 'h' || final === 'l') parameters.forEach((one) => this.privateMode(one, final === 'h')); return; }
    if (prefix === '>') { if (final === 'c') this.reply('\x1b[>0;0;0c'); return; }
    if (prefix) return;
    const x = Math.min(this.x, this.columns - 1);
    const line = this.lines[this.y];
    const blanks = (count) => Array(Math.max(0, Math.min(count, this.columns))).fill(this.style.back ? { text: ' ', style: { back: this.style.back } } : BLANK);
    switch (final) {
      case 'A': this.goTo(x, Math.max(this.y >= this.top ? this.top : 0, this.y - n)); break;
      case 'B': case 'e': this.goTo(x, Math.min(this.y <= this.bottom ? this.bottom : this.rows - 1, this.y + n)); break;
      case 'C': case 'a': this.goTo(x + n, this.y); break;
      case 'D': this.goTo(x - n, this.y); break;
      case 'E': this.goTo(0, this.y + n); break;
      case 'F': this.goTo(0, this.y - n); break;
      case 'G': case '`': this.goTo(n - 1, this.y); break;
      case 'd': this.goTo(x, n - 1); break;
      case 'H': case 'f': this.goTo((parameters[1] || 1) - 1, n - 1); break;
      case 'J': this.eraseScreen(first ?? 0, x, blanks); break;
      case 'K':
        if (!first) line.splice(x, this.columns - x, ...blanks(this.columns - x));
        else line.splice(0, first === 1 ? x + 1 : this.columns, ...blanks(first === 1 ? x + 1 : this.columns));
        break;
      case 'L': if (this.y >= this.top && this.y <= this.bottom) this.scroll(-n, this.y); break;
      case 'M': if (this.y >= this.top && this.y <= this.bottom) this.scrollAt(n); break;
      case 'P': line.splice(x, n); line.push(...blanks(this.columns - line.length)); break;
      case '@': line.splice(x, 0, ...blanks(n)); line.length = this.columns; break;
      case 'X': line.splice(x, Math.min(n, this.columns - x), ...blanks(Math.min(n, this.columns - x))); break;
      case 'S': this.scroll(n); break;
      case 'T': this.scroll(-n); break;
      case 'm': this.graphics(parameters); break;
      case 'r':
        this.top = Math.min(n - 1, this.rows - 2);
        this.bottom = Math.min((parameters[1] || this.rows) - 1, this.rows - 1);
        if (this.bottom <= this.top) { this.top = 0; this.bottom = this.rows - 1; }
        this.goTo(0, 0);
        break;
      case 's': this.save(); break;
      case 'u': this.restore(); break;
      case 'h': case 'l': if (first === 4) this.modes.insert = final === 'h'; break;
      case 'n': if (first === 6) this.reply(`\x1b[${this.y + 1};${x + 1}R`); else if (first === 5) this.reply('\x1b[0n'); break;
      case 'c': this.reply('\x1b[?6c'); break;
      default: // Others change nothing that is shown.
    }
  }

  /** Deletes lines from the cursor on: they go nowhere. */
  scrollAt(count) {
    for (let i = 0; i < Math.min(count, this.rows); i += 1) {
      this.lines.splice(this.y, 1);
      this.lines.splice(this.bottom, 0, this.blank());
    }
  }

  eraseScreen(which, x, blanks) {
    const wipe = (from, to) => { for (let y = from; y < to; y += 1) this.lines[y] = blanks(this.columns); };
    if (which === 0) {
      this.lines[this.y].splice(x, this.columns - x, ...blanks(this.columns - x));
      wipe(this.y + 1, this.rows);
    } else if (which === 1) {
      wipe(0, this.y);
      this.lines[this.y].splice(0, x + 1, ...blanks(x + 1));
    } else if (which === 2) wipe(0, this.rows);
    else if (which === 3) this.scrollback = [];
  }

  privateMode(mode, on) {
    if (mode === 1) this.modes.applicationKeys = on;
    else if (mode === 7) this.modes.wrap = on;
    else if (mode === 25) this.modes.cursor = on;
    else if (mode === 2004) this.modes.paste = on;
    else if (mode === 1049 || mode === 1047 || mode === 47) this.alternate(on);
  }

  /** The screen that full-screen programs use, and back. */
  alternate(on) {
    if (on && !this.main) {
      this.main = { lines: this.lines, x: this.x, y: this.y, style: this.style };
      this.lines = this.empty(this.rows);
    } else if (!on && this.main) {
      Object.assign(this, this.main);
      this.main = undefined;
      this.top = 0;
      this.bottom = this.rows - 1;
    }
  }

  /** Colours and the like (SGR). */
  graphics(parameters) {
    let style = { ...this.style };
    for (let i = 0; i < parameters.length; i += 1) {
      const one = parameters[i] ?? 0;
      if (one === 0) style = {};
      else if (one === 1) style.bold = true;
      else if (one === 2) style.faint = true;
      else if (one === 3) style.italic = true;
      else if (one === 4) style.underline = true;
      else if (one === 7) style.inverse = true;
      else if (one === 22) { delete style.bold; delete style.faint; } else if (one === 23) delete style.italic;
      else if (one === 24) delete style.underline;
      else if (one === 27) delete style.inverse;
      else if (one >= 30 && one <= 37) style.fore = colour(one - 30);
      else if (one >= 40 && one <= 47) style.back = colour(one - 40);
      else if (one >= 90 && one <= 97) style.fore = colour(one - 82);
      else if (one >= 100 && one <= 107) style.back = colour(one - 92);
      else if (one === 39) delete style.fore;
      else if (one === 49) delete style.back;
      else if (one === 38 || one === 48) {
        const name = one === 38 ? 'fore' : 'back';
        if (parameters[i + 1] === 5) { style[name] = colour(parameters[i + 2] ?? 0); i += 2; } else if (parameters[i + 1] === 2) {
          style[name] = rgb(parameters.slice(i + 2, i + 5));
          i += 4;
        }
      }
    }
    this.style = Object.keys(style).length ? Object.freeze(style) : PLAIN;
  }

  /** A line as pieces of one style, `{text, style}`; the cursor is a piece of its own. */
  pieces(line, cursor = -1) {
    const found = [];
    line.forEach((cell, at) => {
      const last = found.at(-1);
      if (at === cursor) found.push({ text: cell.text || ' ', style: cell.style, cursor: true });
      else if (last && last.style === cell.style && !last.cursor) last.text += cell.text;
      else found.push({ text: cell.text, style: cell.style });
    });
    return found;
  }

  /** All that is on the screen, as text. */
  text() {
    return this.lines.map((line) => line.map((cell) => cell.text).join('').trimEnd()).join('\n').trimEnd();
  }
}

const BASIC = ['#3b4048', '#e5534b', '#57ab5a', '#c69026', '#539bf5', '#b083f0', '#39c5cf', '#c9d1d9',
  '#768390', '#ff938a', '#6bc46d', '#daaa3f', '#6cb6ff', '#dcbdfb', '#56d4dd', '#ffffff'];
const rgb = (parts) => `rgb(${[0, 1, 2].map((at) => Math.min(255, parts[at] || 0)).join(',')})`;

/** One of xterm's 256 colours. */
function colour(index) {
  if (index < 16) return BASIC[index];
  if (index > 231) { const grey = 8 + (index - 232) * 10; return rgb([grey, grey, grey]); }
  const step = (value) => (value ? 55 + value * 40 : 0);
  const at = index - 16;
  return rgb([step(Math.floor(at / 36)), step(Math.floor(at / 6) % 6), step(at % 6)]);
}
