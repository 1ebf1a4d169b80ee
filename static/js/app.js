// Small things htmx and HTML do not do by themselves. Every page works without this file.
(() => {
  const status = () => document.getElementById("status");

  // What a page says at the top after a redirect, or a fragment after a swap, is also spoken by the one live region.
  const announce = (root) => {
    const said = root.querySelector("[data-announce]");
    if (!said) return;
    setTimeout(() => { status().textContent = said.dataset.announce || said.textContent.trim(); }, 150);
  };

  // A summary of errors takes the focus, so that it is read and its links are next.
  const focusErrors = (root) => { root.querySelector("[data-focus]")?.focus(); };

  addEventListener("DOMContentLoaded", () => { announce(document); focusErrors(document); });
  addEventListener("htmx:afterSwap", (event) => { announce(event.target); focusErrors(event.target); });
  addEventListener("htmx:beforeRequest", (event) => event.detail.target?.setAttribute("aria-busy", "true"));
  addEventListener("htmx:afterRequest", (event) => event.detail.target?.removeAttribute("aria-busy"));
  addEventListener("htmx:sendError", () => { document.body.dataset.offline = ""; status().textContent = "No connection. What you see may be out of date."; });
  addEventListener("htmx:afterOnLoad", () => { delete document.body.dataset.offline; });

  // Filters apply by themselves when a list is changed; typing waits for Enter or the button.
  addEventListener("change", (event) => {
    const form = event.target.closest("form[data-autosubmit]");
    if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
  });
  // Empty fields stay out of the address of a filtered list.
  addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-autosubmit]")) return;
    for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-autosubmit] :disabled").forEach((field) => { field.disabled = false; }));
})();
