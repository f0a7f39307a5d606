// The start of the page: who is logged in, what the cluster has, and which view the address asks for.

import { ApiError, JSON_TYPE, ask, onLoggedOut } from './lib/api.js';
import * as discovery from './lib/discovery.js';
import { fill, h, message } from './lib/dom.js';
import { parse } from './lib/routes.js';
import * as session from './lib/session.js';
import { listen } from './keyboard.js';
import { showLogin } from './login.js';
import { frame } from './frame.js';
import { editView } from './views/edit.js';
import { listView } from './views/list.js';
import { objectView } from './views/object.js';
import { overview } from './views/overview.js';

const VIEWS = { overview, list: listView, object: objectView, edit: editView, create: editView };

let shown;
let around;
/** Ends what goes on for as long as somebody is logged in. */
let inside;

/** The name behind a token; throws when the API server does not know it. */
async function whoIs(token) {
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  try {
    const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
    const answer = await ask(path, { method: 'POST', type: JSON_TYPE, body: JSON.stringify(review), token });
    return (await answer.json()).status.userInfo.username;
  } catch (error) {
    if (error instanceof ApiError && error.code !== 401) return '';
    throw error;
  }
}

async function start() {
  session.showTheme();
  onLoggedOut(() => leave('The API server does not know your token any more. Log in again.'));
  listen();
  if (!session.token()) return leave();
  try {
    await enter(session.token());
  } catch (error) {
    leave(error.message);
  }
}

async function enter(token) {
  session.begin(token, await whoIs(token));
  await discovery.load();
  inside = new AbortController();
  around = frame(document.body, { signal: inside.signal, leave: () => leave('You are logged out.'), again: show });
  window.onhashchange = show;
  show();
}

function leave(why) {
  shown?.abort();
  inside?.abort();
  window.onhashchange = null;
  session.end();
  showLogin(document.body, why, async (token) => {
    try {
      await enter(token);
    } catch (error) {
      session.end();
      throw error.code === 401 ? new Error('The API server does not know this token: it may have ended, or be of another cluster.') : error;
    }
  });
}

/** Shows what the address says; what was shown before ends. */
async function show() {
  shown?.abort();
  shown = new AbortController();
  const { signal } = shown;
  const route = parse(location.hash);
  const root = fill(around.main, h('p', { class: 'dim' }, 'Loading…'));
  around.select(route);
  const titled = (text) => { document.title = `${text} · Knarr dashboard`; };
  try {
    const view = VIEWS[route.view];
    if (!view) throw new Error('There is no such view.');
    await view({ root, route, signal, titled });
  } catch (error) {
    if (!signal.aborted) fill(root, problem(error));
  }
}

/** What went wrong, and what to do. */
function problem(error) {
  if (error.code === 403) {
    return message('bad', 'You may not see this. ', error.message,
      '\nChoose a namespace that you have rights in (n), or ask whoever gave you the token.');
  }
  return message('bad', error.message);
}

start();
