// Areas that poll: `data-live` on an element with hx-get and hx-trigger="every 5s, live:now".
// Hidden pages do not ask, and catch up on return; nobody's typing, menu or dialog is overwritten;
// [data-live-dot] says when the page was last true, [data-lost] that the connection is gone.
import { attach } from "./behaviour.js";

let failures = 0;

attach("[data-live]", (area) => {
  area.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target === area && (document.hidden || isBusy(area))) event.preventDefault();
  });
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
addEventListener("online", refresh);
addEventListener("offline", () => lost(true));

for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, (event) => {
    if (!event.detail.elt.hasAttribute("data-live")) return;
    failures += 1;
    // One lost poll may be chance, two are not.
    if (failures > 1) lost(true);
  });
}

document.addEventListener("htmx:afterOnLoad", (event) => {
  failures = 0;
  lost(false);
  if (!event.detail.elt.hasAttribute("data-live")) return;
  for (const time of document.querySelectorAll("[data-live-dot] time")) {
    time.dateTime = new Date().toISOString();
  }
});

function refresh() {
  for (const area of document.querySelectorAll("[data-live]")) area.dispatchEvent(new Event("live:now"));
}

function isBusy(area) {
  const focused = document.activeElement;
  const isWriting = area.contains(focused) && focused.matches("input, textarea, select");
  return isWriting || Boolean(area.querySelector("details[data-menu][open], dialog[open]"));
}

function lost(isLost) {
  for (const banner of document.querySelectorAll("[data-lost]")) banner.hidden = !isLost;
  for (const dot of document.querySelectorAll("[data-live-dot]")) dot.classList.toggle("live--stale", isLost);
}
