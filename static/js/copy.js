// Buttons that copy the text of an element: data-copy="its id". They stay hidden where copying is not possible.
(() => {
  const show = (root) => root.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = !navigator.clipboard; });
  addEventListener("DOMContentLoaded", () => show(document));
  addEventListener("htmx:afterSettle", () => show(document));
  addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const status = document.getElementById("status");
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
      status.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; status.textContent = ""; }, 2000);
    } catch {
      status.textContent = "The browser did not allow copying. Select the text and copy it yourself.";
    }
  });
})();
