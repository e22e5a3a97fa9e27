// Follows Airflow's light or dark theme. A classic script in the head: the page must not flash first.
(() => {
  const frame = (() => {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null; // Another site's frame: its theme is not ours to read.
    }
  })();
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  // Airflow puts the theme's name into its root element's class, and the choice into the local storage.
  const current = () => {
    for (const theme of ["dark", "light"]) {
      if (frame?.classList.contains(theme)) return theme;
    }
    const chosen = window.localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") return chosen;
    return system.matches ? "dark" : "light";
  };

  const apply = () => {
    const theme = current();
    const root = document.documentElement;
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    window.dispatchEvent(new CustomEvent("themechange"));
  };

  apply();
  if (frame) new MutationObserver(apply).observe(frame, { attributes: true, attributeFilter: ["class"] });
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply);
})();
