// Keys, undo, drafts, the clock, and sending an answer until it has arrived. Without this script the form works as a form.
"use strict";
(() => {
  const form = document.getElementById("task");
  if (!(form instanceof HTMLFormElement)) {
    document.getElementById("go-on")?.focus();
    return;
  }
  const lines = [...form.querySelectorAll('input[name="line"]')];
  const nothing = form.querySelector('input[name="nothing"]');
  const lease = form.querySelector('input[name="lease_id"]');
  const say = document.getElementById("say");
  const undoButton = document.getElementById("undo");
  const keys = document.getElementById("keys");
  const more = document.getElementById("more");
  const notes = more ? [...more.querySelectorAll("select, input")] : [];
  const draftKey = "draft " + (lease ? lease.value : location.pathname);
  const past = [];
  let isSending = false, isGone = false;

  const state = () => lines.map((line) => line.checked).concat(nothing.checked);
  let before = state();
  const show = (saved) => {
    lines.forEach((line, index) => { line.checked = saved[index]; });
    nothing.checked = saved[lines.length];
  };
  const tell = (text, isTrouble) => {
    say.textContent = text;
    say.classList.toggle("trouble", Boolean(isTrouble));
  };
  const describe = () => {
    const marked = lines.filter((line) => line.checked).map((line) => line.value);
    if (nothing.checked) return "You say that no line is wrong.";
    if (!marked.length) return "Nothing is marked yet.";
    return (marked.length === 1 ? "Marked: line " : "Marked: lines ") + marked.join(", ") + ".";
  };
  // The draft of the open item, and of no other, is kept on this machine until it is sent or one signs out.
  const stored = (action) => { try { return action(localStorage); } catch { return null; /* not allowed: no draft */ } };
  const dropDrafts = (but) => stored((store) => Object.keys(store)
    .filter((name) => name.startsWith("draft ") && name !== but).forEach((name) => store.removeItem(name)));
  const keep = () => isGone || stored((store) => store.setItem(draftKey, JSON.stringify(
    { marks: state(), notes: notes.map((note) => note.value), past: past.slice(-50), active_s: Number(activeSeconds()) })));
  const dropAll = () => { isGone = true; dropDrafts(); };
  const recall = () => {
    const draft = stored((store) => JSON.parse(store.getItem(draftKey)));
    if (!draft || !Array.isArray(draft.marks) || draft.marks.length !== lines.length + 1) return;
    show(draft.marks);
    past.push(...draft.past);
    active += 1000 * draft.active_s || 0;
    notes.forEach((note, index) => { note.value = draft.notes[index] || ""; });
    if (notes.some((note) => note.value)) more.open = true;
  };
  const settle = () => {
    before = state();
    undoButton.disabled = !past.length;
    tell(describe());
    keep();
  };
  const changed = (input) => {
    past.push(before);
    if (input === nothing && nothing.checked) lines.forEach((line) => { line.checked = false; });
    if (input !== nothing && input.checked) nothing.checked = false;
    settle();
  };
  const undo = () => {
    if (!past.length) return;
    show(past.pop());
    settle();
  };

  // The clock of the sitting, and the seconds in which the page was in view: reloads included, by way of the draft.
  const clock = document.getElementById("clock");
  const opened = Date.now();
  let active = 0, since = document.hidden ? null : performance.now();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && since !== null) { active += performance.now() - since; since = null; }
    else if (!document.hidden && since === null) since = performance.now();
    if (document.hidden) keep();
  });
  addEventListener("pagehide", keep);
  const activeSeconds = () => ((active + (since === null ? 0 : performance.now() - since)) / 1000).toFixed(3);
  if (clock) {
    const start = Number(clock.dataset.seconds);
    setInterval(() => {
      const s = start + Math.floor((Date.now() - opened) / 1000), h = Math.floor(s / 3600);
      const two = (n) => String(n).padStart(2, "0");
      document.getElementById("break").hidden = s % 3600 < 3000;
      clock.textContent = (h ? h + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60);
    }, 1000);
  }

  // Sending: the same key each time, so that an answer that arrived twice counts once. Only the page itself says that it
  // arrived: a redirect or a page from a proxy on the way (maintenance, a login) is no receipt.
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const sentences = {
    401: "You are signed out. Open a new link in another tab, then submit again here.",
    404: "This program is not yours any more. Reload the page for the next one.",
    429: "That was too fast for this page. Wait a moment and submit again.",
  };
  const ask = (body) => fetch(form.action, {
    method: "POST", body, headers: { "x-crlhf-script": "1" }, redirect: "manual", credentials: "same-origin",
    signal: AbortSignal.timeout?.(20000),
  });
  const send = async (body) => {
    for (let attempt = 0; ; attempt += 1) {
      let trouble = "No connection.";
      try {
        const answer = await ask(body), next = answer.headers.get("x-crlhf-accepted");
        if (next) {
          dropAll();
          location.assign(next);
          return;
        }
        trouble = "This page does not answer.";
        if (answer.status >= 400 && answer.status < 500) {
          isSending = false;
          tell(sentences[answer.status] || "This answer was not accepted. Check it and submit again.", true);
          return;
        }
      } catch { /* no connection, or none that answers in time: below */ }
      const seconds = Math.min(30, 2 ** attempt);
      tell(trouble + " Your answer is kept here and sent again in " + seconds + " s.", true);
      await wait(seconds * 1000);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isSending) return;
    const isSkip = event.submitter instanceof HTMLButtonElement && event.submitter.name === "skip";
    if (!isSkip && !nothing.checked && !lines.some((line) => line.checked)) {
      tell("Mark the wrong lines, or say that no line is wrong (n).", true);
      return;
    }
    isSending = true;
    const body = new URLSearchParams(new FormData(form));
    if (isSkip) body.set("skip", "1");
    if (lease) body.set("active_s", activeSeconds());
    tell("Sending …");
    send(body);
  });

  // Keys. Letters can be switched off for those whose voice or reader sends them (WCAG 2.1.4).
  const single = document.getElementById("single-keys");
  const usesLetters = () => !single || single.checked;
  if (single) {
    single.checked = stored((store) => store.getItem("single-keys")) !== "off";
    single.addEventListener("change", () => stored((store) => store.setItem("single-keys", single.checked ? "on" : "off")));
    document.getElementById("help").addEventListener("click", () => keys.showModal());
  }
  const stops = [...lines, nothing];
  let last = stops[0];
  form.addEventListener("focusin", (event) => { if (stops.includes(event.target)) last = event.target; });
  const move = (step) => {
    const here = stops.indexOf(document.activeElement);
    const there = here < 0 ? stops.indexOf(last) : here + step;
    stops[Math.max(0, Math.min(stops.length - 1, there))].focus();
  };
  const letters = {
    n: () => { nothing.checked = !nothing.checked; changed(nothing); },
    u: undo,
    c: () => { if (more) { more.open = true; notes[0].focus(); } },
    "?": () => keys?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey || keys?.open) return;
    const place = event.target;
    const isOther = place instanceof HTMLButtonElement || place instanceof HTMLAnchorElement || place?.matches?.("summary");
    const isWriting = place instanceof HTMLSelectElement
      || (place instanceof HTMLInputElement && place.type !== "checkbox");
    if (event.key === "Escape" && isWriting) { last.focus(); return; }
    if (isWriting) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key === "z") { event.preventDefault(); undo(); }
      return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      stops[event.key === "Home" ? 0 : stops.length - 1].focus();
    } else if (event.key === "Enter" && !isOther) {
      event.preventDefault();
      form.requestSubmit(form.querySelector("button.primary"));
    } else if (usesLetters() && letters[event.key]) {
      event.preventDefault();
      letters[event.key]();
    }
  });
  form.addEventListener("change", (event) => { if (stops.includes(event.target)) changed(event.target); });
  undoButton.addEventListener("click", undo);

  notes.forEach((note) => note.addEventListener("input", keep));
  document.getElementById("leave")?.addEventListener("submit", dropAll);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // back: it may have been sent

  dropDrafts(draftKey);
  recall();
  undoButton.disabled = !past.length;
  before = state();
  tell(describe());
  lines[0]?.focus({ preventScroll: true });
})();
