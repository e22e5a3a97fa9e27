// Keeps what is looked at up to date.
const LOOK = 2e3;

/**
 * Calls `read` every so many seconds (`data-refresh` of the page; 0: never) while the page is visible and
 * `idle` says that nothing is in use; at once when it becomes visible again after as long.
 */
export function keepFresh(read, idle) {
  const wait = Number(document.querySelector("main").dataset.refresh) * 1e3;
  if (!wait) return;
  let last = Date.now();
  const look = () => {
    if (document.hidden || Date.now() - last < wait || !idle()) return;
    last = Date.now();
    read();
  };
  setInterval(look, Math.min(wait, LOOK));
  document.addEventListener("visibilitychange", look);
}
