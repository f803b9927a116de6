// What a person opened stays as they left it when a live part is morphed, and a log that is read at its end follows it.
import { attach } from "./behaviour.js";

// Folds that a person opened or closed: the server does not know of them, nor of open dialogs.
const touched = new WeakSet();
document.addEventListener("click", (event) => {
  const fold = event.target.closest?.("summary")?.parentElement;
  if (fold) touched.add(fold);
});
if (globalThis.Idiomorph) {
  globalThis.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !(name === "open" && (touched.has(element) || element.matches("dialog, details[data-menu]")));
}

attach("[data-follow-end]", (log) => {
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  let follows = true;
  const toEnd = () => follows && (log.scrollTop = log.scrollHeight);
  log.addEventListener("scroll", () => (follows = isAtEnd()));
  new MutationObserver(toEnd).observe(log, { childList: true, characterData: true, subtree: true });
  log.closest("details")?.addEventListener("toggle", toEnd);
  toEnd();
});

// A link to a phase or to the model's files opens what it points to.
function reveal() {
  const aim = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  const fold = aim && (aim.matches("details") ? aim : aim.querySelector("details"));
  if (!fold || !aim.matches(".phase, .card")) return;
  fold.open = true;
  touched.add(fold);
  aim.scrollIntoView({ block: "start" });
}
addEventListener("hashchange", reveal);
reveal();
