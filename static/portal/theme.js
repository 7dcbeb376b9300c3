// Runs before the page is painted: the reader's own choice, else the system's.
(function () {
  "use strict";
  const stored = localStorage.getItem("theme");
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = stored || (dark ? "dark" : "light");
})();
