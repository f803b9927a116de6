// Toasts bottom right: six seconds, paused under the pointer or the focus; errors stay until dismissed.
// They come with the page, or as the client event `toast` with `{items: [{text, level, action}]}`.
import { attach, meta } from "./behaviour.js";

const SECONDS = 6;
const SECONDS_WITH_ACTION = 30;

attach("[data-toast]", (item) => {
  item.querySelector("[data-toast-close]").addEventListener("click", () => item.remove());
  if (item.dataset.toast === "error") return;
  const seconds = item.querySelector("[data-toast-action]") ? SECONDS_WITH_ACTION : SECONDS;
  let timer = 0;
  const start = () => {
    clearTimeout(timer);
    timer = setTimeout(() => item.remove(), seconds * 1000);
  };
  const pause = () => clearTimeout(timer);
  for (const name of ["pointerenter", "focusin"]) item.addEventListener(name, pause);
  for (const name of ["pointerleave", "focusout"]) item.addEventListener(name, start);
  start();
});

document.addEventListener("toast", (event) => {
  for (const item of event.detail.items ?? []) show(item);
});

function show({ text, level = "info", action }) {
  const region = document.getElementById("toasts");
  const template = document.getElementById(`toast-${level}`) ?? document.getElementById("toast-info");
  const item = template.content.firstElementChild.cloneNode(true);
  item.querySelector("[data-toast-text]").textContent = text;
  const form = item.querySelector("form");
  if (action) {
    form.action = action.url;
    form.querySelector('[name="csrfmiddlewaretoken"]').value = meta("csrf-token");
    form.querySelector("button").textContent = action.label;
  } else {
    form.remove();
  }
  region.append(item);
  document.dispatchEvent(new CustomEvent("htmx:load", { detail: { elt: item } }));
}
