// What Django's own scripts leave without a role or a name, for screen readers. Runs after them: they build their parts on load.
"use strict";
window.addEventListener("load", () => {
  for (const sign of document.querySelectorAll(".help-tooltip[aria-label]")) sign.setAttribute("role", "img");
  for (const head of document.querySelectorAll("th.original:empty")) {
    const name = document.createElement("span");
    name.className = "visually-hidden";
    name.textContent = "Row";
    head.append(name);
  }
});
