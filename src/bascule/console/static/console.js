// What keeps a page true: parts that the console sends replace what the page shows, and running times tick.
"use strict";

const stream = document.body.dataset.stream;
const clockAhead = Number(document.body.dataset.now) * 1000 - Date.now(); // ours may be wrong, the console's counts
const parts = document.querySelectorAll("[data-live]");
const AWAY = "The console does not answer: see that `bascule console` runs. This page tries again by itself.";
const notice = document.getElementById("notice");
let source;
let ended = false;

// As `span` in words.py says it.
function lasted(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// While the notice says that somebody does not answer, nobody knows what still runs.
function isTrue() {
  return notice.textContent === "";
}

function tick() {
  if (!isTrue()) return;
  for (const time of document.querySelectorAll("time[data-since]")) {
    time.textContent = lasted((Date.now() + clockAhead) / 1000 - Number(time.dataset.since));
  }
}

// A new tree must not close what the reader opened, nor take the focus away.
function replace(part, html) {
  const folds = Array.from(part.querySelectorAll("details[id]"), (fold) => [fold.id, fold.open]);
  const focused = document.activeElement?.id;
  part.innerHTML = html;
  for (const [id, open] of folds) {
    const fold = document.getElementById(id);
    if (fold) fold.open = open;
  }
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
  entitle();
  tick();
}

function entitle() {
  const title = document.querySelector("[data-title]")?.dataset.title;
  if (title) document.title = `${title} · bascule`;
}

function show(part, text) {
  if (part.dataset.live === "html") replace(part, text);
  else if (part.textContent !== text) part.textContent = text; // the same again would be read aloud again
  mark();
}

function mark() {
  document.getElementById("live-mark").hidden = source?.readyState !== EventSource.OPEN || !isTrue();
}

function follow() {
  const following = source = new EventSource(stream);
  source.onopen = mark;
  source.onerror = () => {
    show(notice, AWAY);
    // It tries again by itself, unless something else answered in the console's place.
    if (following.readyState === EventSource.CLOSED) setTimeout(() => following === source && follow(), 2000);
  };
  for (const part of parts) source.addEventListener(part.id, (event) => show(part, event.data));
  source.addEventListener("end", () => { ended = true; stop(); });
}

function stop() {
  source?.close();
  source = undefined;
  mark();
}

entitle();
tick();
setInterval(tick, 1000);
if (stream) {
  follow();
  // A browser keeps six connections to one address: pages that nobody looks at must not hold them.
  document.addEventListener("visibilitychange", () => {
    if (ended) return;
    stop();
    if (!document.hidden) follow();
  });
}
