// Requests to the API server, as whoever is logged in.

import * as session from './session.js';
import { blocks } from './yaml.js';

export const JSON_TYPE = 'application/json';
export const YAML = 'application/yaml';
export const APPLY = 'application/apply-patch+yaml';
export const MERGE = 'application/merge-patch+json';
export const STRATEGIC = 'application/strategic-merge-patch+json';
export const JSON_PATCH = 'application/json-patch+json';
export const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
/** Whom the API server writes down as the manager of fields that were set here. */
export const MANAGER = 'knarr-dashboard';

/** What the API server refuses, with its Status. */
export class ApiError extends Error {
  constructor(code, status) {
    super(status?.message || (typeof status === 'string' && status) || `the API server answers ${code}`);
    this.code = code;
    this.status = status ?? {};
  }

  /** Conflicts of server-side apply: who else has set which field. */
  get conflicts() {
    return (this.status.details?.causes ?? []).filter((cause) => cause.reason === 'FieldManagerConflict');
  }
}

/** How often something is asked again. */
const ATTEMPTS = 3;

let loggedOut = () => {};

/** What is done when the API server does not know the token any more. */
export const onLoggedOut = (action) => { loggedOut = action; };

/** Asks; answers the Response once it has succeeded. */
export async function ask(path, { method = 'GET', body, type, accept = JSON_TYPE, signal, token } = {}) {
  const headers = { accept, authorization: `Bearer ${token ?? session.token()}` };
  if (type) headers['content-type'] = type;
  const response = await attempt(path, { method, body, headers, signal, cache: 'no-store', credentials: 'omit' });
  if (response.ok) return response;
  const status = read(await response.text().catch(() => ''));
  if (response.status === 401 && token === undefined) loggedOut();
  throw new ApiError(response.status, status);
}

/**
 * Browsers break off all they are doing when the machine gets or loses a network interface, which on a node is whenever a pod
 * comes or goes. So what fails without an answer is asked again: all that the page asks means the same when it is said twice.
 */
async function attempt(path, options) {
  for (let again = 0; ; again += 1) {
    try {
      const response = await fetch(path, options);
      // What was to be deleted was deleted by the attempt that had no answer.
      return again && options.method === 'DELETE' && response.status === 404 ? new Response('{}') : response;
    } catch (error) {
      if (options.signal?.aborted || options.method === 'POST' || again >= ATTEMPTS) throw error;
      await new Promise((done) => { setTimeout(done, 100 * again); });
    }
  }
}

/** A Status in the form that was asked for; what is none is told as it is. */
function read(text) {
  try {
    return text.startsWith('{') ? JSON.parse(text) : blocks(text);
  } catch {
    return { message: text.slice(0, 500) };
  }
}

/** The JSON that is at a path. */
export const get = async (path, options) => (await ask(path, options)).json();

/** The YAML of an object. */
export const getYaml = async (path, options) => (await ask(path, { accept: YAML, ...options })).text();

/** Sends JSON. */
export const send = async (method, path, value, type = JSON_TYPE) =>
  (await ask(path, { method, type, body: JSON.stringify(value) })).json();

/** Adds what is not empty to a path's query. */
export function withQuery(path, query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '' && value !== false) parameters.append(name, value);
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/** The lines of an answer as they come, in pieces of a few at a time. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const all = (rest + value).split('\n');
    rest = all.pop();
    if (all.length) yield all;
  }
  if (rest) yield [rest];
}
