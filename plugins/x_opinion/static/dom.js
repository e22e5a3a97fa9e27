// Elements without HTML in strings: text is always text, whatever it holds.

/** An element with attributes, listeners (`onclick`) and children, lists in lists too; false and null are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

const FOCUSABLE = "a[href], button, input, select, summary, textarea, [tabindex]";

/** Redraws, and puts the focus back on what stands where it was: in the nearest element that has an id. */
export function keepingFocus(redraw) {
  const focused = document.activeElement;
  const place = focused?.closest?.("[id]");
  const at = place ? [...place.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
  redraw();
  if (!place || focused.isConnected) return;
  const again = byId(place.id);
  (at < 0 ? again : again?.querySelectorAll(FOCUSABLE)[at])?.focus({ preventScroll: true });
}
