// Loads the page. Browsers break off what they are loading when a network interface comes or goes, as with every pod of the
// machine, and remember modules that have failed: then all is loaded anew, a few times at most.

const TRIES = 'tries';

import('./main.js').then(
  () => sessionStorage.removeItem(TRIES),
  (error) => {
    const tries = Number(sessionStorage.getItem(TRIES) ?? 0) + 1;
    sessionStorage.setItem(TRIES, String(tries));
    if (tries <= 5) setTimeout(() => location.reload(), 200 * tries);
    else document.body.textContent = `The page cannot be loaded: ${error.message}. Load it again.`;
  },
);
