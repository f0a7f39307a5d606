// The dashboard's terminal. Run by e2e/tests/page.rs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../src/addons/src/dashboard/page/lib/keys.js';
import { Screen } from '../../src/addons/src/dashboard/page/lib/screen.js';

const shown = (text, columns = 10, rows = 4) => {
  const screen = new Screen(columns, rows);
  screen.write(text);
  return screen;
};

test('text goes on in the next line, and lines go up', () => {
  assert.equal(shown('one\r\ntwo').text(), 'one\ntwo');
  assert.equal(shown('0123456789ab').text(), '0123456789\nab');
  const screen = shown('a\r\nb\r\nc\r\nd\r\ne');
  assert.equal(screen.text(), 'b\nc\nd\ne');
  assert.equal(screen.scrollback.length, 1);
  assert.equal(shown('ab\rX').text(), 'Xb');
  assert.equal(shown('ab\b\bX\tY').text(), 'Xb      Y');
});

test('a line that is exactly full does not wrap before more comes', () => {
  const screen = shown('0123456789');
  assert.deepEqual([screen.y, screen.text()], [0, '0123456789']);
  screen.write('\r\nx');
  assert.equal(screen.text(), '0123456789\nx');
});

test('the cursor goes where it is sent', () => {
  assert.equal(shown('\x1b[2;3Hx\x1b[Hy').text(), 'y\n  x');
  assert.equal(shown('abc\x1b[2Dx\x1b[1Cy').text(), 'axcy');
  assert.equal(shown('a\x1b[99;99Hb').text(), 'a\n\n\n         b');
  assert.equal(shown('a\x1b7\x1b[3;3Hb\x1b8c').text(), 'ac\n\n  b');
  assert.equal(shown('\x1b[3d\x1b[5Gx').text(), '\n\n    x');
});

test('parts are erased, inserted and deleted', () => {
  assert.equal(shown('abcdef\x1b[3D\x1b[K').text(), 'abc');
  assert.equal(shown('abcdef\x1b[3D\x1b[1K').text(), '    ef');
  assert.equal(shown('abc\x1b[2J').text(), '');
  assert.equal(shown('abcdef\x1b[1;3H\x1b[2P').text(), 'abef');
  assert.equal(shown('abcdef\x1b[1;3H\x1b[2@').text(), 'ab  cdef');
  assert.equal(shown('abcdef\x1b[1;3H\x1b[2X').text(), 'ab  ef');
  assert.equal(shown('a\r\nb\r\nc\x1b[1;1H\x1b[M').text(), 'b\nc');
  assert.equal(shown('a\r\nb\r\nc\x1b[2;1H\x1b[L').text(), 'a\n\nb\nc');
});

test('a region scrolls within itself', () => {
  const screen = shown('top\x1b[2;3r\x1b[2;1Ha\r\nb\r\nc\x1b[r\x1b[4;1Hend');
  assert.equal(screen.text(), 'top\nb\nc\nend');
  assert.equal(screen.scrollback.length, 0);
  assert.equal(shown('a\r\nb\x1b[1;1H\x1bMx').text(), 'x\na\nb');
});

test('full-screen programs have a screen of their own', () => {
  const screen = shown('before\x1b[?1049h\x1b[Hediting');
  assert.equal(screen.text(), 'editing');
  screen.write('\x1b[?1049lafter');
  assert.equal(screen.text(), 'beforeafte\nr');
});

test('colours and the like are kept with the text', () => {
  const screen = shown('\x1b[1;31mred\x1b[0m \x1b[38;5;21mblue\x1b[48;2;1;2;3mx\x1b[m', 20);
  const pieces = screen.pieces(screen.lines[0]);
  assert.deepEqual(pieces.map(({ text }) => text.trimEnd()), ['red', '', 'blue', 'x', '']);
  assert.ok(pieces[0].style.bold && pieces[0].style.fore && !pieces[1].style.fore);
  assert.equal(pieces[2].style.fore, 'rgb(0,0,255)');
  assert.equal(pieces[3].style.back, 'rgb(1,2,3)');
  assert.deepEqual(screen.pieces(screen.lines[0], 1).map(({ text, cursor }) => [text.trimEnd(), Boolean(cursor)]).slice(0, 3), [['r', false], ['e', true], ['d', false]]);
});

test('sequences may come in pieces', () => {
  for (const text of ['\x1b[1;31mred\x1b[0m', '\x1b]0;title\x07ok', '\x1b[2;2Hx', '\x1b(0qqq\x1b(B', '\x1bP1$r0m\x1b\\ok']) {
    const whole = shown(text).text();
    const pieces = new Screen(10, 4);
    for (const one of text) pieces.write(one);
    assert.equal(pieces.text(), whole, JSON.stringify(text));
  }
  assert.equal(shown('\x1b(0qqq\x1b(B').text(), '───');
  assert.equal(shown('\x1b]0;title\x07ok').title, 'title');
});

test('programs are told what they ask', () => {
  const said = [];
  const screen = new Screen(10, 4, (text) => said.push(text));
  screen.write('ab\x1b[6n\x1b[c\x1b[5n');
  assert.deepEqual(said, ['\x1b[1;3R', '\x1b[?6c', '\x1b[0n']);
  screen.write('\x1b[?1h\x1b[?2004h\x1b[?25l');
  assert.deepEqual([screen.modes.applicationKeys, screen.modes.paste, screen.modes.cursor], [true, true, false]);
});

test('wide and combining characters take the room that they need', () => {
  const screen = shown('日本x');
  assert.equal(screen.x, 5);
  assert.equal(screen.text(), '日本x');
  assert.equal(shown('e\u0301x').x, 2);
});

test('another size keeps what is there', () => {
  const screen = shown('one\r\ntwo\r\nthree\r\nfour');
  screen.resize(20, 2);
  assert.equal(screen.text(), 'three\nfour');
  assert.equal(screen.scrollback.length, 2);
  screen.resize(3, 5);
  screen.write('x');
  assert.equal(screen.lines.every((line) => line.length === 3), true);
});

test('nothing that a program may write breaks it', () => {
  let seed = 1;
  const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below; };
  const parts = ['\x1b[', '\x1b', '[', ';', '?', '1', '99999', 'H', 'J', 'K', 'L', 'M', 'P', '@', 'X', 'S', 'T', 'm', 'r', 'h', 'l', '1049', 'a', '日', '\u0301', '\r', '\n', '\b', '\t', '\x1b]', '\x07', '\x1bc', '\x1bM', 'A', 'B'];
  for (let round = 0; round < 400; round += 1) {
    const screen = new Screen(1 + random(12), 2 + random(6));
    for (let at = 0; at < 60; at += 1) {
      screen.write(parts[random(parts.length)]);
      if (random(30) === 0) screen.resize(1 + random(12), 2 + random(6));
    }
    assert.equal(screen.lines.length, screen.rows, `round ${round}`);
    assert.ok(screen.lines.every((line) => line.length === screen.columns), `round ${round}`);
    assert.ok(screen.y >= 0 && screen.y < screen.rows && screen.x >= 0 && screen.x <= screen.columns, `round ${round}`);
  }
});

test('keys are what terminals send', () => {
  const key = (name, more = {}) => bytesOf({ key: name, ...more });
  assert.equal(key('Enter'), '\r');
  assert.equal(key('ArrowUp'), '\x1b[A');
  assert.equal(bytesOf({ key: 'ArrowUp' }, true), '\x1bOA');
  assert.equal(key('ArrowLeft', { ctrlKey: true }), '\x1b[1;5D');
  assert.equal(key('c', { ctrlKey: true }), '\x03');
  assert.equal(key('c', { ctrlKey: true, shiftKey: true }), undefined, 'copying is the browser’s');
  assert.equal(key('a'), undefined, 'letters come as text');
  assert.equal(key('b', { altKey: true }), '\x1bb');
  assert.equal(key('€', { altKey: true, ctrlKey: true }), undefined, 'AltGr types');
  assert.equal(key('Tab', { shiftKey: true }), '\x1b[Z');
  assert.equal(key('Delete'), '\x1b[3~');
  assert.equal(key('Shift'), undefined);
});
