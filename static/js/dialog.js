// Native <dialog>s: the browser traps the focus and gives it back. `data-dialog-open` names the dialog to show.
// htmx content swapped into [data-dialog-host] opens it; the client event `dialog:close` closes what is open.
import { attach } from "./behaviour.js";

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog-open]");
  if (opener) {
    const dialog = document.getElementById(opener.dataset.dialogOpen);
    if (dialog && !dialog.open) {
      event.preventDefault();
      dialog.showModal();
    }
    return;
  }
  const closer = event.target.closest("[data-dialog-close]");
  if (closer) {
    event.preventDefault();
    closer.closest("dialog")?.close();
  }
});

// A click on the backdrop closes, unless a selection was dragged out of the dialog.
let pressed = null;
document.addEventListener("pointerdown", (event) => (pressed = event.target));
document.addEventListener("click", (event) => {
  const isOutside = event.target instanceof HTMLDialogElement && pressed === event.target;
  if (isOutside && !event.target.hasAttribute("data-dialog-stay")) event.target.close();
});

attach("[data-dialog-host]", (host) => {
  host.addEventListener("htmx:afterSwap", () => {
    if (host.childElementCount && !host.open) host.showModal();
    host.querySelector("[autofocus]")?.focus();
  });
  host.addEventListener("close", () => host.replaceChildren());
});

document.addEventListener("dialog:close", () => {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
});

// What destroys may ask for the name to be typed first.
attach("[data-confirm-name]", (field) => {
  const button = field.form.querySelector("[data-confirm-button]");
  const check = () => (button.disabled = field.value !== field.dataset.confirmName);
  field.addEventListener("input", check);
  check();
});
