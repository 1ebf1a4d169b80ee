// Small things htmx and HTML do not do by themselves. Every page works without this file.
(() => {
  const status = () => document.getElementById("status");
  const find = (root, selector) => (root.matches?.(selector) ? root : root.querySelector(selector));

  // What a page says at the top after a redirect, or a fragment after a swap, is also spoken by the one live region.
  const announce = (root) => {
    const said = find(root, "[data-announce]");
    if (said) setTimeout(() => { status().textContent = said.dataset.announce || said.textContent.trim(); }, 150);
  };
  // A summary of errors takes the focus, so that it is read and its links are next.
  const focusErrors = (root) => find(root, "[data-focus]")?.focus();

  addEventListener("DOMContentLoaded", () => { announce(document); focusErrors(document); });
  addEventListener("htmx:afterSwap", (event) => {
    const root = (event.target.id && document.getElementById(event.target.id)) || event.target;
    const dialog = root.closest("dialog");
    if (dialog && !dialog.open) dialog.showModal();
    announce(root);
  });
  addEventListener("htmx:afterSettle", (event) => focusErrors(event.target));
  addEventListener("htmx:beforeRequest", (event) => event.detail.target?.setAttribute("aria-busy", "true"));
  addEventListener("htmx:afterRequest", (event) => event.detail.target?.removeAttribute("aria-busy"));
  // What a reader unfolded stays unfolded when its page is brought up to date.
  if (window.Idiomorph) Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");
  addEventListener("htmx:sendError", () => {
    document.body.dataset.offline = "";
    status().textContent = "No connection. What you see may be out of date.";
  });
  addEventListener("htmx:afterOnLoad", () => { delete document.body.dataset.offline; });

  // Filters apply by themselves when a list is changed; typing waits for Enter or the button.
  const filled = (form, on) => {
    for (const field of form.elements) if (field.name && field.value === "") field.disabled = !on;
  };
  addEventListener("change", (event) => {
    const form = event.target.closest("form[data-autosubmit]");
    if (!form || !event.target.matches("select, input[type=checkbox]")) return;
    if (!event.target.matches("[data-reload]")) { form.requestSubmit(); return; }
    filled(form, false); // another run has other filters: the whole page is read again
    form.submit();
  });
  // Empty fields stay out of the address of a filtered list.
  addEventListener("submit", (event) => { if (event.target.matches("form[data-autosubmit]")) filled(event.target, false); }, true);
  addEventListener("htmx:afterRequest", (event) => { if (event.target.matches("form[data-autosubmit]")) filled(event.target, true); });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-autosubmit]").forEach((form) => filled(form, true)));

  // In the override: Correct passes all three axes, so choosing it says so; Error leaves them to the reader.
  addEventListener("change", (event) => {
    if (!event.target.matches("[data-override] [name=label]")) return;
    const form = event.target.form;
    for (const axis of ["correctness", "coherence", "factuality"]) {
      for (const radio of form.querySelectorAll(`[name=${axis}]`)) radio.checked = event.target.value === "correct" && radio.value === "pass";
    }
  });
  addEventListener("click", (event) => {
    const dialog = event.target.closest("[data-close]")?.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    dialog.close();
  });
})();
