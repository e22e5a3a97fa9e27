// What a page shows lives in its address, so that it survives a reload and can be shared.

/** Airflow's window around this page's frame; null where the page stands alone or another site frames it. */
function airflow() {
  try {
    return window.parent === window || !window.parent.location.href ? null : window.parent;
  } catch {
    return null;
  }
}

/** What the address says; a frame that Airflow has just made reads Airflow's own. */
export const readAddress = () => new URLSearchParams(window.location.search || airflow()?.location.search);

/** Puts what is shown into the address, and into Airflow's, whose reload makes the frame anew. */
export function writeAddress(query) {
  const search = `${query}` ? `?${query}` : "";
  for (const place of [window, airflow()]) {
    if (!place || place.location.search === search) continue;
    place.history.replaceState(place.history.state, "", `${place.location.pathname}${search}${place.location.hash}`);
  }
}
