// The token of this tab. It is kept in sessionStorage, so that it ends with the tab, and never in a cookie.

const KEY = "mlret.token";
let inMemory = null; // Where storage is switched off, the token lives as long as the page.

export function token() {
  return read(KEY) ?? inMemory;
}

export function keepToken(value) {
  inMemory = value;
  write(KEY, value);
}

/** Forget the token and what else the tab has kept. */
export function signOut() {
  inMemory = null;
  try {
    sessionStorage.clear();
  } catch {
    // Nothing was kept.
  }
}

/** Take a token from the address, as `mlret serve` prints it, and remove it from there at once. Return whether there was one. */
export function takeTokenFromAddress() {
  const match = /^#token=([^&]+)/.exec(location.hash);
  if (!match) return false;
  history.replaceState(null, "", location.pathname + location.search);
  let found = match[1];
  try {
    found = decodeURIComponent(found);
  } catch {
    // It is not encoded.
  }
  keepToken(found.trim());
  return true;
}

/** Read a value that the tab has kept. */
export function read(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Keep a value for this tab. */
export function write(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // The page works without.
  }
}
