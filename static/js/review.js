// The review screen: keys, the next item ahead of time, active time, and judgments that are never lost.
(() => {
  const place = () => document.getElementById("item");
  if (!place()) return;
  const { user, next, alive, login } = place().dataset;
  const OUTBOX = `rm-unsaved-${user}-`, DRAFT = `rm-draft-${user}-`;
  const IDLE = 30_000;
  const status = (words) => { document.getElementById("status").textContent = words; };
  const shown = () => place().querySelector("[data-item]")?.dataset.item || "";
  const form = () => document.getElementById("judge");
  const cookie = () => document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] || "";
  const kept = () => Object.keys(localStorage).filter((name) => name.startsWith(OUTBOX)).sort();

  // --- the outbox: what was said stays in this browser until the server answered it
  let waiting = 0, timer = 0, sending = false;
  const banner = (words, link) => {
    const box = document.getElementById("unsaved");
    box.hidden = !words;
    box.textContent = words;
    if (link) { const a = document.createElement("a"); a.href = link; a.textContent = "Sign in"; box.append(" ", a); }
  };
  const later = (words, link) => {
    banner(`Not saved yet: ${words} What you said is kept in this browser.`, link);
    place().removeAttribute("aria-busy");
    clearTimeout(timer);
    waiting = Math.min(30_000, waiting * 2 || 1_000);
    timer = setTimeout(flush, waiting);
  };
  async function flush() {
    if (sending) return;
    sending = true;
    try {
      // looked up anew each time: more may have been said while the one before it was on its way
      for (let name = kept()[0]; name; name = kept()[0]) if (!(await send(name))) return;
      waiting = 0;
      banner("");
    } finally { sending = false; }
  }
  async function send(name) {
    const entry = JSON.parse(localStorage.getItem(name) || "null");
    if (!entry) return true; // another window has sent it
    let answer, text;
    try {
      answer = await fetch(entry.url, {
        method: "POST", body: new URLSearchParams(entry.body), headers: { "X-Fragment": "1", "X-CSRFToken": cookie() },
      });
      text = await answer.text();
    } catch { later("no connection."); return false; }
    if (answer.redirected && new URL(answer.url).pathname === login) {
      later("you were signed out.", `${login}?next=${encodeURIComponent(location.pathname)}`);
      return false;
    }
    if (answer.status >= 500 || answer.status === 429 || answer.status === 403) {
      later(answer.status === 403 ? "the server refused it; load the page again." : "the server does not answer.");
      return false;
    }
    localStorage.removeItem(name);
    if (answer.ok && entry.kind === "judgment") localStorage.removeItem(DRAFT + entry.item);
    if (answer.headers.get("X-Go-To")) location.assign(answer.headers.get("X-Go-To"));
    else if (entry.item === shown() || !answer.ok) show(text);
    else if (entry.kind !== "keep") status("What was kept in this browser is saved now.");
    return true;
  }
  function put(sent, submitter, more) {
    const body = new URLSearchParams(new FormData(sent, submitter));
    for (const name in more) body.set(name, more[name]);
    body.delete("csrfmiddlewaretoken"); // it changes with each sign-in; the cookie has the one of now
    if (body.has("active_ms")) body.set("active_ms", String(Math.round(active)));
    const entry = { url: sent.action, kind: sent.dataset.send, item: shown(), body: body.toString() };
    const id = body.get("idempotency_key") || `${entry.kind}-${entry.item}`;
    const ours = kept().find((name) => JSON.parse(localStorage.getItem(name)).url === entry.url);
    if (ours) localStorage.removeItem(ours); // said again before it could be sent: the last word goes
    localStorage.setItem(`${OUTBOX}${Date.now()}-${id}`, JSON.stringify(entry));
  }
  addEventListener("submit", (event) => {
    const sent = event.target.closest("form[data-send]");
    if (!sent) return;
    event.preventDefault();
    const instead = sent.dataset.send === "keep" && ahead && !sent.hasAttribute("data-over");
    put(sent, event.submitter, instead ? { has_next: "1" } : {});
    if (instead) show(ahead);
    else place().setAttribute("aria-busy", "true");
    flush();
  });
  addEventListener("online", () => { waiting = 0; flush(); });

  // --- showing an item, and the one behind it
  let ahead = "";
  function show(text) {
    place().innerHTML = text;
    place().removeAttribute("aria-busy");
    // a page loaded again, and a sign-in on the way, come back to what is on the screen
    history.replaceState(null, "", place().querySelector("[data-address]")?.dataset.address || next);
    ahead = place().querySelector("#keep") ? ahead : "";
    tell();
    arrived();
    (place().querySelector("[data-focus]") || document.getElementById("item-h"))?.focus();
    const said = place().querySelector("[data-announce]");
    if (said) status(said.dataset.announce);
    else scrollTo(0, 0);
  }
  async function arrived() {
    digits = "";
    const item = shown();
    if (!form()) return;
    active = 0;
    restore(item);
    try {
      const answer = await fetch(`${next}?after=${item}`, { headers: { "X-Fragment": "1" } });
      const text = answer.ok && !answer.redirected ? await answer.text() : "";
      if (item === shown()) ahead = text.includes("data-item=") ? text : "";
    } catch { /* it is asked for again when it is wanted */ }
  }
  const OWN = ["csrfmiddlewaretoken", "idempotency_key", "token", "version", "splitter", "active_ms"];
  function restore(item) {
    const draft = localStorage.getItem(DRAFT + item);
    if (!draft || place().querySelector(".errors")) return;
    const said = new URLSearchParams(draft);
    for (const field of form().elements) {
      if (!field.name || OWN.includes(field.name)) continue;
      if (["checkbox", "radio"].includes(field.type)) field.checked = said.getAll(field.name).includes(field.value);
      else if (said.has(field.name)) field.value = said.get(field.name);
    }
  }
  addEventListener("input", (event) => {
    if (!form() || event.target.form !== form()) return;
    const said = new URLSearchParams(new FormData(form()));
    OWN.forEach((name) => said.delete(name));
    localStorage.setItem(DRAFT + shown(), said.toString());
    if (event.target.name === "label") effect();
  });
  const effect = () => status(form().querySelector(`[data-effect="${form().elements.label.value}"]`)?.textContent || "");

  // --- active time: the page is seen, and someone did something in the last 30 seconds
  let active = 0, total = 0, last = Date.now(), moved = Date.now(), beat = Date.now();
  for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "scroll"]) addEventListener(name, () => { moved = Date.now(); }, { passive: true });
  const tell = () => {
    const clock = place().querySelector("[data-clock]");
    if (clock) clock.textContent = `${Math.floor(total / 60_000)} min active`;
  };
  setInterval(() => {
    const now = Date.now(), passed = now - last;
    last = now;
    if (document.visibilityState !== "visible" || now - moved > IDLE) return;
    active += passed; total += passed;
    tell();
    if (alive && now - beat > 60_000) { beat = now; fetch(alive, { method: "POST", headers: { "X-CSRFToken": cookie() } }).catch(() => {}); }
  }, 1_000);

  // --- settings: kept on the server, so that they are the same on every machine
  const settings = document.getElementById("settings");
  const settle = (name, value) => fetch(settings.action, {
    method: "POST", body: new URLSearchParams([[name, value]]), headers: { "X-Fragment": "1", "X-CSRFToken": cookie() },
  }).then((answer) => { if (answer.status !== 204) throw answer; })
    .catch(() => status("This setting holds on this page only: it could not be saved."));
  settings.addEventListener("change", (event) => settle(event.target.name, event.target.value));

  // --- keys
  const dialog = document.getElementById("keys"), switched = document.getElementById("keys-on");
  switched.addEventListener("change", () => settle("keys", switched.checked ? "on" : "off"));
  addEventListener("click", (event) => { if (event.target.closest("[data-keys]")) dialog.showModal(); });
  let digits = "";
  const change = (field, on = true) => { field.checked = on; field.dispatchEvent(new Event("input", { bubbles: true })); };
  const reason = (key) => {
    const box = form()?.querySelector(`[data-key="${key}"]`);
    if (!box) return false;
    const line = digits && document.querySelector(`#s${digits} input`);
    if (digits && !line) { status(`There is no sentence ${digits}.`); digits = ""; return true; }
    change(box, line ? true : !box.checked);
    if (line) { line.closest("details")?.setAttribute("open", ""); change(line); }
    if (box.checked) change(form().querySelector("[name=label][value=error]"));
    status(`${line ? `Sentence ${digits}: ` : ""}${box.nextElementSibling.textContent}${box.checked ? "" : " taken away"}.`);
    digits = "";
    return true;
  };
  const press = (id) => { const it = document.getElementById(id); if (it) it.click ? it.click() : 0; return !!it; };
  const submit = (id) => { const it = document.getElementById(id); it?.requestSubmit(); return !!it; };
  const label = (value) => { const it = form()?.querySelector(`[name=label][value=${value}]`); if (it) { change(it); it.focus(); } return !!it; };
  const DO = {
    c: () => label("correct"), e: () => label("error"), j: () => press("to-conclusion"), k: () => press("not-mine"),
    n: () => { document.getElementById("comment")?.focus(); return true; }, r: () => press("revise"), u: () => submit("undo-last"),
    h: () => { const it = document.getElementById("harm"); if (!it) return false; it.selectedIndex = (it.selectedIndex + 1) % it.length; it.dispatchEvent(new Event("input", { bubbles: true })); status(it.selectedOptions[0].textContent); return true; },
    Enter: () => submit("judge") || submit("keep"), Escape: () => { digits = ""; return false; },
  };
  addEventListener("keydown", (event) => {
    const at = event.target, typing = at.matches("textarea, select, input:not([type=radio], [type=checkbox])");
    if (dialog.open || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && event.ctrlKey && (submit("judge") || submit("keep"))) { event.preventDefault(); return; }
    if (event.ctrlKey) return;
    if (typing) { if (event.key === "Escape") document.getElementById("item-h").focus(); return; }
    if (event.key === "Enter" && at.closest("a, button, summary")) return;
    if (event.key === "?") { event.preventDefault(); dialog.showModal(); return; }
    if (!switched.checked && event.key !== "Escape") return;
    if (/^\d$/.test(event.key)) {
      digits = (digits + event.key).slice(-4);
      status(`Sentence ${digits}. Now the reason.`);
      document.getElementById(`s${digits}`)?.scrollIntoView({ block: "center" });
      event.preventDefault();
    } else if (!event.repeat && (DO[event.key]?.() || reason(event.key))) event.preventDefault();
  });

  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  arrived();
  flush();
})();
