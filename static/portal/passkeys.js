// Passkeys (WebAuthn Level 3): asks the browser for a credential and sends it with the form.
// Without this script the forms stay hidden, and codes of an app do the same.
(function () {
  "use strict";

  if (!window.PublicKeyCredential) return;

  const octets = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (character) => character.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const named = (list) => (list || []).map((one) => ({ ...one, id: octets(one.id) }));

  async function make(options) {
    const publicKey = {
      ...options.publicKey,
      challenge: octets(options.publicKey.challenge),
      user: { ...options.publicKey.user, id: octets(options.publicKey.user.id) },
      excludeCredentials: named(options.publicKey.excludeCredentials),
      // Signing in without a password needs a passkey that the browser can find by itself.
      authenticatorSelection: { ...options.publicKey.authenticatorSelection, residentKey: "preferred" },
    };
    const made = await navigator.credentials.create({ publicKey });
    return {
      ...known(made),
      response: {
        clientDataJSON: text(made.response.clientDataJSON),
        attestationObject: text(made.response.attestationObject),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    };
  }

  async function show(options) {
    const publicKey = {
      ...options.publicKey,
      challenge: octets(options.publicKey.challenge),
      allowCredentials: named(options.publicKey.allowCredentials),
    };
    const shown = await navigator.credentials.get({ publicKey });
    const handle = shown.response.userHandle;
    return {
      ...known(shown),
      response: {
        clientDataJSON: text(shown.response.clientDataJSON),
        authenticatorData: text(shown.response.authenticatorData),
        signature: text(shown.response.signature),
        userHandle: handle && handle.byteLength ? text(handle) : null,
      },
    };
  }

  function known(credential) {
    return {
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment,
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  }

  async function optionsOf(form) {
    if (!form.dataset.passkeyOptions) return JSON.parse(document.getElementById(form.dataset.passkeyData).textContent);
    const answer = await fetch(form.dataset.passkeyOptions, { headers: { Accept: "application/json" } });
    if (answer.redirected) {
      location.assign(answer.url); // the second step of a sign-in waits
      return null;
    }
    return answer.json();
  }

  function say(form, message) {
    const place = form.querySelector("[data-passkey-error]");
    place.textContent = message;
    place.hidden = false;
  }

  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    form.hidden = false;
    document.querySelectorAll("[data-without-passkeys]").forEach((part) => (part.hidden = true));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      try {
        const found = await optionsOf(form);
        if (found === null) return;
        const options = found.creation_options || found.request_options;
        const credential = form.dataset.passkey === "make" ? await make(options) : await show(options);
        form.elements.credential.value = JSON.stringify(credential);
        form.submit();
      } catch (error) {
        const there = error.name === "InvalidStateError";
        const address = error.name === "SecurityError";
        if (there) say(form, "This device has a passkey for your account already.");
        else if (address) say(form, "Passkeys need the portal's own name in the address bar, and HTTPS.");
        else say(form, "The browser gave no passkey. Try again, or use another way.");
        button.disabled = false;
      }
    });
  });
})();
