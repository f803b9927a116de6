// What every htmx request carries, and what happens when one fails.
import { meta, toast } from "./behaviour.js";

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = meta("csrf-token");
});

document.addEventListener("htmx:responseError", (event) => {
  const { xhr, elt } = event.detail;
  // Polls keep quiet: live.js shows that what is on the page is old.
  if (elt.hasAttribute("data-live")) return;
  if (xhr.status === 401) location.reload();
  else toast(xhr.getResponseHeader("X-Error") || meta("words-failed").replace("{status}", xhr.status), "error");
});
