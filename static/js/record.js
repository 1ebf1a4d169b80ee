// A record's page by single keys: decide, go on, go back. The same conventions as on the review screen.
(() => {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const on = dialog.hasAttribute("data-single-keys");
  const press = (id) => { const it = document.getElementById(id); it?.click(); return !!it; };
  const DO = {
    a: () => press("accept"), t: () => press("return"), x: () => press("exclude"),
    j: () => press("next-record"), k: () => press("previous-record"),
  };
  addEventListener("click", (event) => { if (event.target.closest("[data-keys]")) dialog.showModal(); });
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
    if (dialog.open || typing || event.repeat || event.altKey || event.metaKey || event.ctrlKey) return;
    if (event.key === "?") { event.preventDefault(); dialog.showModal(); return; }
    if (on && DO[event.key]?.()) event.preventDefault();
  });
})();
