// Small conveniences; every page works without them.
(function () {
  "use strict";

  function theme() {
    const button = document.getElementById("theme-toggle");
    if (!button) return;
    const root = document.documentElement;
    const show = () => {
      const dark = root.dataset.bsTheme === "dark";
      button.textContent = dark ? "Light theme" : "Dark theme";
      button.setAttribute("aria-label", dark ? "Switch to the light theme" : "Switch to the dark theme");
    };
    show();
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.bsTheme);
      } catch {
        // storage is blocked: it holds for this page
      }
      show();
    });
  }

  // The field to type in, where it is in sight: on a phone it would pull the page past what it asks first.
  function focusWide() {
    const field = document.querySelector("[data-focus-wide]");
    if (field && window.matchMedia("(min-width: 768px)").matches) field.focus();
  }

  // One key moves to a field, unless a text is being typed.
  function shortcuts() {
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, select, [contenteditable]");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const field = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
      if (!field) return;
      event.preventDefault();
      field.focus();
    });
  }

  // Keys of a list: j and k move, a and r open the row for that decision, ? shows the keys. On the page
  // of one thing a and r move to the button or field. Nothing is decided by them.
  function listKeys() {
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, select, [contenteditable]");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const here = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (here) {
        event.preventDefault();
        here.focus();
        return;
      }
      const list = document.querySelector("[data-keys]");
      if (!list) return;
      const rows = [...list.querySelectorAll("[data-row]")];
      const at = rows.indexOf(document.activeElement);
      if (event.key === "j" || event.key === "k") {
        event.preventDefault();
        const to = at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)));
        if (rows[to]) rows[to].focus();
      } else if (event.key === "a" || event.key === "r") {
        if (at < 0) return;
        event.preventDefault();
        window.location.assign(`${rows[at].href.split("#")[0]}#${event.key === "a" ? "approve" : "reject"}`);
      } else if (event.key === "?") {
        const help = document.querySelector(".keys-help");
        if (!help) return;
        event.preventDefault();
        help.open = !help.open;
        if (help.open) help.scrollIntoView({ block: "nearest" });
      }
    });
    const wanted = { "#approve": "a", "#reject": "r" }[window.location.hash];
    const field = wanted && document.querySelector(`[data-key="${wanted}"]`);
    if (field) field.focus();
  }

  // The menu closes by Escape and by a click elsewhere.
  function menus() {
    const close = (except) => {
      document.querySelectorAll("details.menu[open]").forEach((menu) => {
        if (menu !== except) menu.open = false;
      });
    };
    document.addEventListener("click", (event) => close(event.target.closest("details.menu")));
    document.addEventListener("keydown", (event) => {
      const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
      if (!menu) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  // An example becomes the text of the box; nothing is sent.
  function examples() {
    document.querySelectorAll("[data-example]").forEach((chip) => {
      chip.addEventListener("click", () => {
        const box = document.getElementById("id_text");
        box.value = chip.dataset.example;
        box.focus();
      });
    });
  }

  // A ready sentence becomes the text of its field; nothing is sent.
  function sentences() {
    document.addEventListener("click", (event) => {
      const chip = event.target.closest("[data-fill] button");
      if (!chip) return;
      const field = document.getElementById(chip.closest("[data-fill]").dataset.fill);
      field.value = chip.textContent;
      field.focus();
    });
  }

  // A chip of a domain completes the name that is being typed; without this script the server does it.
  function domains() {
    document.querySelectorAll("[data-domain]").forEach((chip) => {
      chip.addEventListener("click", (event) => {
        event.preventDefault();
        const box = document.getElementById("id_names");
        const names = box.value.split(/[\s,]+/).filter(Boolean);
        const last = names.length - 1;
        if (last >= 0 && !names[last].includes(".")) names[last] += "." + chip.dataset.domain;
        else if (!names.includes(chip.dataset.domain)) names.push(chip.dataset.domain);
        box.value = names.join("\n");
        box.focus();
        box.dispatchEvent(new Event("input", { bubbles: true }));
      });
    });
  }

  // A file that is dropped on the field is chosen there; nothing is sent.
  function dropping() {
    document.querySelectorAll("[data-drop]").forEach((area) => {
      const mark = (on) => (event) => {
        event.preventDefault();
        area.classList.toggle("is-over", on);
      };
      area.addEventListener("dragover", mark(true));
      area.addEventListener("dragleave", mark(false));
      area.addEventListener("drop", (event) => {
        mark(false)(event);
        if (event.dataTransfer.files.length) area.querySelector("input[type=file]").files = event.dataTransfer.files;
      });
    });
  }

  // Ctrl+Enter in the box sends its form.
  function submitting() {
    document.querySelectorAll("[data-submit]").forEach((box) => {
      box.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.form.requestSubmit(box.form.querySelector(".btn-primary"));
      });
    });
  }

  // A second click on the same button sends nothing; the server would answer with the same request anyway.
  function onceOnly() {
    document.querySelectorAll("form[data-once]").forEach((form) => {
      form.addEventListener("submit", (event) => {
        if (form.dataset.sent) {
          event.preventDefault();
          return;
        }
        form.dataset.sent = "yes";
      });
    });
    window.addEventListener("pageshow", () => {
      document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
    });
  }

  // htmx leaves the page as it is when a form that it sent is refused as a whole (413, 403, 500) or gets no answer: say so in the form.
  function refusals() {
    const say = (form, heading, sentences) => {
      const notice = document.createElement("div");
      notice.className = "notice is-bad";
      notice.setAttribute("role", "alert");
      notice.dataset.refused = "";
      [heading, ...sentences].forEach((text, place) => {
        const line = document.createElement("p");
        const words = place ? line : line.appendChild(document.createElement("strong"));
        words.textContent = text;
        notice.append(line);
      });
      form.prepend(notice);
    };
    const of = (event) => (event.detail.requestConfig?.verb === "post" ? event.detail.elt.closest("form") : null);
    document.addEventListener("htmx:beforeRequest", (event) => of(event)?.querySelector("[data-refused]")?.remove());
    document.addEventListener("htmx:responseError", (event) => {
      const form = of(event);
      if (!form) return;
      if (event.detail.xhr.status === 403 && event.detail.requestConfig.triggeringEvent?.type === "submit") {
        HTMLFormElement.prototype.submit.call(form); // the page that answers keeps what was typed, and can send it again
        return;
      }
      const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
      const lines = [...page.querySelectorAll("main p:not([data-page-only])")].map((line) => line.textContent.trim());
      say(form, page.querySelector("main h1")?.textContent || "That did not work.", lines.filter(Boolean));
    });
    document.addEventListener("htmx:sendError", (event) => {
      const form = of(event);
      if (form) say(form, "The portal does not answer.", ["Check the connection, and send it again. What you typed is still here."]);
    });
  }

  // How many lines of a list are selected, and one box for those of the page.
  function selecting() {
    const all = document.querySelector("[data-all]");
    if (!all) return;
    const boxes = [...all.form.querySelectorAll(`[name="${CSS.escape(all.dataset.all)}"]`)];
    const said = all.form.querySelector("[data-selected]");
    const show = () => {
      const count = boxes.filter((box) => box.checked).length;
      all.checked = count === boxes.length;
      all.indeterminate = count > 0 && count < boxes.length;
      const whole = all.form.querySelector("[data-whole]:checked"); // it may come with the exact number, after the page
      said.hidden = count === 0 || whole !== null;
      said.textContent = `${count} selected`;
    };
    all.hidden = false;
    all.addEventListener("change", () => {
      boxes.forEach((box) => (box.checked = all.checked));
      show();
    });
    all.form.addEventListener("change", show);
    window.addEventListener("pageshow", show);
  }

  function copying() {
    document.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-copy]");
      if (!button) return;
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        // no clipboard over plain http: select it, so that one key copies it
        window.getSelection().selectAllChildren(source);
        button.textContent = "Selected: copy it with your keyboard";
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    theme();
    focusWide();
    shortcuts();
    listKeys();
    menus();
    examples();
    sentences();
    domains();
    dropping();
    submitting();
    onceOnly();
    refusals();
    selecting();
    copying();
  });
})();
