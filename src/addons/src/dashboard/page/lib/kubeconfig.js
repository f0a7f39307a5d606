// The token in a kubeconfig. The file is read here, in the browser, and goes nowhere else: it may hold a private key.

import { blocks } from './yaml.js';

/** The token of the current context; throws, with what to do, when there is none that can be used here. */
export function tokenOf(text) {
  const config = text.trim().startsWith('{') ? JSON.parse(text) : blocks(text);
  const named = (all, name) => (all ?? []).find((one) => one.name === name);
  const context = named(config?.contexts, config?.['current-context'])?.context;
  const user = named(config?.users, context?.user)?.user;
  if (!user) throw new Error('This is no kubeconfig with a current context and its user.');
  if (user.token) return user.token;
  if (user['client-certificate-data'] || user['client-certificate']) {
    throw new Error('This kubeconfig proves who you are by a certificate. Its private key must not leave your machine, so it '
      + 'cannot be used here. Make a token with it instead, for a service account that may do what you need:\n'
      + 'kubectl create token dashboard-admin --namespace kube-system');
  }
  if (user.exec || user['auth-provider']) {
    throw new Error('This kubeconfig gets its token from a program, which a browser cannot run. Run it yourself and paste the token.');
  }
  throw new Error('The current user of this kubeconfig has no token.');
}
