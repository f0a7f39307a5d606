// Which lines differ between two texts.

/** Pairs of lines beyond which no longest common part is looked for: it would take seconds. */
const LIMIT = 6_000_000;

/** All lines of both texts as `{kind: 'same' | 'removed' | 'added', text}`. */
export function diff(before, after) {
  const a = lines(before);
  const b = lines(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (all) => all.map((text) => ({ kind: 'same', text }));
  return [
    ...same(a.slice(0, start)),
    ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...same(a.slice(a.length - end)),
  ];
}

const lines = (text) => (text === '' ? [] : text.replace(/\n$/, '').split('\n'));

/** By the longest common subsequence: a table of its lengths, then a walk through it. */
function middle(a, b) {
  const removed = (text) => ({ kind: 'removed', text });
  const added = (text) => ({ kind: 'added', text });
  if (!a.length || !b.length || a.length * b.length > LIMIT) return [...a.map(removed), ...b.map(added)];
  const width = b.length + 1;
  const length = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i * width + j] = a[i] === b[j]
        ? length[(i + 1) * width + j + 1] + 1
        : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) { found.push({ kind: 'same', text: a[i] }); i += 1; j += 1; }
    else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) { found.push(removed(a[i])); i += 1; }
    else { found.push(added(b[j])); j += 1; }
  }
  return [...found, ...a.slice(i).map(removed), ...b.slice(j).map(added)];
}

/** The changes with some lines around; what is left out is `{kind: 'gap', count}`. */
export function around(all, context = 3) {
  const near = new Set();
  all.forEach((line, at) => {
    if (line.kind === 'same') return;
    for (let i = at - context; i <= at + context; i += 1) near.add(i);
  });
  const found = [];
  all.forEach((line, at) => {
    if (near.has(at)) found.push(line);
    else if (found.at(-1)?.kind === 'gap') found.at(-1).count += 1;
    else found.push({ kind: 'gap', count: 1 });
  });
  return found;
}
