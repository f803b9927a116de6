// The live log: a WebSocket that sends {"cursor", "lines": [{cursor, time, instance, level, source, text}]}.
// A lost connection is resumed after the last cursor, so no line is lost or shown twice.
import { attach, whenRemoved } from "./behaviour.js";

const KEEP_LINES = 10000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
const HEALTH = /"?(GET|HEAD) \/(healthz?|ready|live|v2\/health\/\w+)?[ "?]/;
const clock = new Intl.DateTimeFormat([], {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1, hourCycle: "h23",
});
const TRACEBACK = /Traceback \(most recent call last\):/;

attach("[data-log]", (log) => {
  const pane = log.querySelector("[data-log-lines]");
  const rows = log.querySelector("[data-log-rows]");
  const empty = log.querySelector("[data-log-empty]");
  const fresh = log.querySelector("[data-log-new]");
  const status = log.querySelector("[data-log-status]");
  const control = (name) => log.querySelector(`[data-log-${name}]`);
  const folds = new Map();
  let cursor = log.dataset.cursor ?? "";
  let socket = null;
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  let isOver = false;
  let unseen = 0;
  let waiting = [];

  // The connection ---------------------------------------------------------------------------------------

  function connect() {
    const url = new URL(log.dataset.url, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (cursor) url.searchParams.set("cursor", cursor);
    socket = new WebSocket(url);
    socket.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      say("live");
    });
    socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      if (isOver) return;
      say("lost");
      timer = setTimeout(connect, wait);
      wait = Math.min(LONGEST_WAIT_MS, wait * 2);
    });
  }

  function receive(message) {
    cursor = message.cursor ?? cursor;
    if (!message.lines?.length) return;
    if (!waiting.length) requestAnimationFrame(flush);
    waiting.push(...message.lines);
  }

  function say(state) {
    status.textContent = status.dataset[state];
    status.parentElement.classList.toggle("live--stale", state !== "live");
  }

  // The lines --------------------------------------------------------------------------------------------

  function flush() {
    const isFollowing = control("follow").checked;
    const added = document.createDocumentFragment();
    let shown = 0;
    for (const line of waiting) {
      if (foldIn(line)) continue;
      const row = build(line);
      row.hidden = !matches(row);
      if (!row.hidden) shown += 1;
      added.append(row);
    }
    waiting = [];
    rows.append(added);
    trim();
    empty.hidden = rows.querySelector(".log__line:not([hidden])") !== null;
    if (isFollowing) pane.scrollTop = pane.scrollHeight;
    else tellUnseen(shown);
  }

  function build({ time, instance, level, source, text }) {
    const row = document.createElement("div");
    row.className = `log__line log__line--${(level || "info").toLowerCase()}`;
    row.dataset.text = text;
    row.dataset.source = source ?? "";
    const at = document.createElement("time");
    at.dateTime = time;
    at.textContent = time ? clock.format(new Date(time)) : "";
    at.className = "log__time";
    const [where, how, what] = ["instance", "level", "text"].map((name) => {
      const cell = document.createElement("span");
      cell.className = `log__${name}`;
      return cell;
    });
    where.textContent = instance ?? "";
    how.textContent = (level ?? "").toUpperCase().replace("WARNING", "WARN");
    fill(what, text);
    row.append(at, how, where, what);
    folds.set(instance, { row, lines: [text] });
    return row;
  }

  /** A line that continues the one before it, as a traceback's lines do, joins its entry. */
  function foldIn({ instance, text, continues }) {
    const fold = folds.get(instance);
    if (!fold || !continues) return false;
    fold.lines.push(text);
    const whole = fold.lines.join("\n");
    fold.row.dataset.text = whole;
    fill(fold.row.querySelector(".log__text"), whole);
    fold.row.hidden = !matches(fold.row);
    return true;
  }

  function fill(cell, text) {
    const lines = text.trimEnd().split("\n");
    if (lines.length === 1) {
      cell.textContent = text;
      return;
    }
    const details = document.createElement("details");
    details.className = "log__fold";
    const summary = document.createElement("summary");
    const body = document.createElement("div");
    // A traceback says what happened in its last line.
    summary.textContent = TRACEBACK.test(text) ? lines.at(-1) : (lines.find((line) => line.trim()) ?? "…");
    body.textContent = text;
    details.append(summary, body);
    cell.replaceChildren(details);
  }

  function trim() {
    while (rows.childElementCount > KEEP_LINES) rows.firstElementChild.remove();
  }

  // What is shown ----------------------------------------------------------------------------------------

  function matches(row) {
    if (control("health")?.checked && HEALTH.test(row.dataset.text)) return false;
    const wanted = control("filter").value.trim();
    return !wanted || test(wanted, row.dataset.text);
  }

  function applyFilter() {
    for (const row of rows.children) row.hidden = !matches(row);
    empty.hidden = rows.querySelector(".log__line:not([hidden])") !== null;
    if (control("follow").checked) pane.scrollTop = pane.scrollHeight;
  }

  function tellUnseen(count) {
    unseen += count;
    fresh.hidden = unseen === 0;
    fresh.textContent = (unseen === 1 ? fresh.dataset.one : fresh.dataset.many).replace("{n}", unseen);
  }

  function follow(isOn) {
    control("follow").checked = isOn;
    if (!isOn) return;
    unseen = 0;
    fresh.hidden = true;
    pane.scrollTop = pane.scrollHeight;
  }

  control("filter").addEventListener("input", applyFilter);
  control("health")?.addEventListener("change", applyFilter);
  control("wrap").addEventListener("change", (event) => log.classList.toggle("log--wrap", event.target.checked));
  control("follow").addEventListener("change", (event) => follow(event.target.checked));
  fresh.addEventListener("click", () => follow(true));
  let lastTop = 0;
  let lastHeight = 0;
  pane.addEventListener("scroll", () => {
    const { scrollTop, scrollHeight, clientHeight } = pane;
    // Only the reader scrolls up: our own scrolling goes down, and lines that go make the pane shorter.
    const isUp = scrollTop < lastTop - 2 && scrollHeight >= lastHeight;
    if (isUp) follow(false);
    else if (scrollHeight - scrollTop - clientHeight < 4) follow(true);
    lastTop = scrollTop;
    lastHeight = scrollHeight;
  }, { passive: true });
  control("download")?.addEventListener("click", () => {
    const text = [...rows.children]
      .filter((row) => !row.hidden)
      .map((row) => [row.querySelector("time").dateTime, row.querySelector(".log__instance").textContent, row.dataset.text].join(" "))
      .join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `${log.dataset.log || "log"}.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const first = log.querySelector('script[type="application/json"]');
  if (first) receive(JSON.parse(first.textContent));
  if (log.dataset.url) connect();
  whenRemoved(log, () => {
    isOver = true;
    clearTimeout(timer);
    socket?.close();
  });
});

function test(wanted, text) {
  const pattern = /^\/(.+)\/$/.exec(wanted);
  if (!pattern) return text.toLowerCase().includes(wanted.toLowerCase());
  try {
    return new RegExp(pattern[1], "i").test(text);
  } catch {
    return true;
  }
}
