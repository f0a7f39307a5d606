// A program in a container, over the API server's WebSocket (`v5.channel.k8s.io`): the first byte of a message is its channel.

import * as session from './session.js';
import { withQuery } from './api.js';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

/** How a browser, which can set no headers here, tells its token. */
function tokenProtocol() {
  const bytes = new TextEncoder().encode(session.token());
  const text = btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  return `base64url.bearer.authorization.k8s.io.${text}`;
}

/**
 * Runs `command` in a container with a terminal. `output` is called with its bytes, `ended` once with why it is over.
 * Answers `{input(text), resize(columns, rows), close()}`.
 */
export function exec({ namespace, pod, container, command, opened, output, ended }) {
  const path = withQuery(`/api/v1/namespaces/${namespace}/pods/${pod}/exec`, { container, stdin: true, stdout: true, stderr: true, tty: true });
  const url = `${location.origin.replace(/^http/, 'ws')}${path}${command.map((one) => `&command=${encodeURIComponent(one)}`).join('')}`;
  const socket = new WebSocket(url, ['v5.channel.k8s.io', tokenProtocol()]);
  socket.binaryType = 'arraybuffer';
  let why;
  const send = (channel, text) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const bytes = new TextEncoder().encode(text);
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  };
  socket.onopen = opened;
  socket.onmessage = ({ data }) => {
    const bytes = new Uint8Array(data);
    if (bytes[0] === STDOUT || bytes[0] === STDERR) output(bytes.subarray(1));
    else if (bytes[0] === ERROR) why = outcome(new TextDecoder().decode(bytes.subarray(1)));
  };
  socket.onclose = ({ code }) => ended(why ?? (code === 1006
    ? 'The connection was refused or lost. You may have no right to run programs here (create on pods/exec).' : 'The connection has ended.'));
  return {
    input: (text) => send(STDIN, text),
    resize: (columns, rows) => send(RESIZE, JSON.stringify({ Width: columns, Height: rows })),
    close: () => socket.close(),
  };
}

function outcome(text) {
  try {
    const status = JSON.parse(text);
    if (status.status === 'Success') return 'The program has ended.';
    const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message;
    return code ? `The program has ended with exit code ${code}.` : status.message;
  } catch {
    return text;
  }
}
