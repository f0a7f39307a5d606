// Lists that stay true: list, then watch from there, again and again until told to stop.

import { ApiError, JSON_TYPE, TABLE, ask, get, lines, withQuery } from './api.js';

const PAGE = 500;
/** Before the first new attempt, in milliseconds. */
const SHORTEST = 100;
/** Between looks at what cannot be watched. */
const PERIOD = 15000;

/**
 * Follows a collection until `signal`. `reset(pages)` is called with all pages of a list, `changed(type, object)` with each
 * event, `state(text)` with what is wrong at the moment (empty: nothing).
 *
 * Throws what the API server says when it refuses.
 */
export async function follow(path, { query = {}, table = false, watchable = true, signal, reset, changed, state = () => {} }) {
  const accept = table ? TABLE : JSON_TYPE;
  let version = '';
  let pause = SHORTEST;
  while (!signal.aborted) {
    try {
      if (!version) {
        version = await list(path, query, accept, signal, reset);
        state('');
      }
      if (!watchable) {
        await sleep(PERIOD, signal);
        version = '';
        continue;
      }
      const seen = (now) => { version = now; pause = SHORTEST; state(''); };
      await watch(path, { ...query, resourceVersion: version }, accept, signal, changed, seen);
      // However often a server ends them, it is not asked without a pause.
      await sleep(SHORTEST, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && [400, 401, 403, 404, 405].includes(error.code)) throw error;
      const expired = error instanceof ApiError && error.code === 410;
      if (!expired) {
        // The first time may be a network interface that came or went.
        if (pause > SHORTEST) state('The connection is lost; trying again…');
        await sleep(pause, signal);
        pause = Math.min(pause * 3, 15000);
      }
      // A version that is too old makes a new list; so does whatever else the server refuses, to be sure.
      if (error instanceof ApiError) version = '';
    }
  }
}

async function list(path, query, accept, signal, reset) {
  const pages = [];
  let next = '';
  do {
    const page = await get(withQuery(path, { ...query, limit: PAGE, continue: next }), { accept, signal });
    pages.push(page);
    next = page.metadata?.continue ?? '';
  } while (next);
  reset(pages);
  return pages.at(-1).metadata?.resourceVersion ?? '';
}

/** One watch; `seen` hears the versions that it comes to, and when it begins. */
async function watch(path, query, accept, signal, changed, seen) {
  const full = withQuery(path, { ...query, watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: '1800' });
  const response = await ask(full, { accept, signal });
  seen(query.resourceVersion);
  for await (const piece of lines(response)) {
    for (const line of piece) {
      if (!line) continue;
      const { type, object } = JSON.parse(line);
      if (type === 'ERROR') throw new ApiError(object.code, object);
      if (type !== 'BOOKMARK') changed(type, object);
      const version = object.rows?.[0]?.object?.metadata?.resourceVersion ?? object.metadata?.resourceVersion;
      if (version) seen(version);
    }
  }
}

/** Waits, or ends early with `signal`. */
export function sleep(milliseconds, signal) {
  return new Promise((done) => {
    const end = () => { clearTimeout(timer); signal?.removeEventListener('abort', end); done(); };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener('abort', end);
  });
}
