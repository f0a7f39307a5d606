// A curve over time.

import { h, svg } from './lib/dom.js';

const WIDTH = 300;
const HEIGHT = 100;
/** A chart shows this much at least, in milliseconds: the first minutes fill it from the right. */
const SPAN = 10 * 60 * 1000;

/** Points of a curve in a box of `WIDTH` by `HEIGHT`, the newest at the right. */
export function points(seen, top) {
  const times = seen.map(({ time }) => Date.parse(time));
  const end = times.at(-1);
  const span = Math.max(SPAN, end - times[0]);
  return seen.map(({ value }, at) => [WIDTH - ((end - times[at]) / span) * WIDTH, HEIGHT - (value / (top || 1)) * HEIGHT]);
}

/** A chart of `seen` (`{time, value}`): the limit is what it could be at most, where that is known. */
export function chart({ title, seen, limit, write, second = false }) {
  const now = seen.at(-1).value;
  const most = Math.max(...seen.map(({ value }) => value));
  const top = most * 1.25 || 1;
  const line = points(seen, top).map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
  // One point alone would not be seen.
  if (line.length === 1) line.unshift(`${WIDTH - 6},${line[0].split(',')[1]}`);
  const share = limit > 0 ? `, ${Math.round((now / limit) * 100)} % of ${write(limit)}` : '';
  return h('figure', { class: second ? 'chart second' : 'chart' },
    h('h3', {}, h('span', {}, title), h('span', { class: 'dim' }, write(now) + share)),
    svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: ${write(now)}${share}; at most ${write(most)}` },
      [0, 0.5, 1].map((at) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: at * HEIGHT, y2: at * HEIGHT })),
      svg('polyline', { class: 'curve', points: line.join(' ') })),
    h('p', {}, `0 to ${write(top)} since this page was opened`));
}
