// Runs before the page is painted: the reader's own choice, else the system's.
(function () {
  "use strict";
  let stored = null;
  try {
    stored = localStorage.getItem("theme");
  } catch {
    // storage is blocked: the system's choice it is
  }
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  // The admin keeps its choice under the same name, and has "auto" too.
  const chosen = stored === "dark" || stored === "light" ? stored : "";
  document.documentElement.dataset.bsTheme = chosen || (dark ? "dark" : "light");
})();
