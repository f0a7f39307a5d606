// Who is logged in, and what is chosen. The token is in this tab's sessionStorage and nowhere else.

const TOKEN = 'token';
const NAMESPACE = 'namespace';
const THEME = 'theme';

let user = '';

/** The token; empty when nobody is logged in. */
export const token = () => sessionStorage.getItem(TOKEN) ?? '';

/** The name that the API server knows the user by. */
export const userName = () => user;

/** Somebody has come in. */
export function begin(newToken, name) {
  sessionStorage.setItem(TOKEN, newToken);
  user = name;
}

/** They have left. */
export function end() {
  sessionStorage.clear();
  user = '';
}

/** The namespace that lists are of; empty for all. */
export const namespace = () => sessionStorage.getItem(NAMESPACE) ?? '';

/** Chooses it. */
export const chooseNamespace = (name) => sessionStorage.setItem(NAMESPACE, name);

/** Shows the theme that was chosen, if one was. */
export function showTheme() {
  const theme = localStorage.getItem(THEME);
  if (theme) document.documentElement.dataset.theme = theme;
}

/** Whether the page is dark now. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

/** From light to dark, or back. */
export function switchTheme() {
  localStorage.setItem(THEME, isDark() ? 'light' : 'dark');
  showTheme();
}
