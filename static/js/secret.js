// Copy a key that is not on the page: `data-copy-secret` is where it is asked for, by POST, and only then.
import { meta, toast } from "./behaviour.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-secret]");
  if (!button) return;
  button.disabled = true;
  try {
    await copy(ask(button.dataset.copySecret));
    button.dataset.copied = "";
    toast(button.dataset.copyDone, "success");
    setTimeout(() => delete button.dataset.copied, 1500);
  } catch {
    toast(button.dataset.copyFailed, "error");
  } finally {
    button.disabled = false;
  }
});

async function ask(url) {
  const headers = { Accept: "application/json", "X-CSRFToken": meta("csrf-token") };
  const response = await fetch(url, { method: "POST", headers });
  if (!response.ok) throw new Error(String(response.status));
  return (await response.json()).key;
}

/** Safari writes only within the click: it gets a promise of the text. */
async function copy(secret) {
  if (globalThis.ClipboardItem?.supports?.("text/plain")) {
    const blob = secret.then((text) => new Blob([text], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
  } else {
    await navigator.clipboard.writeText(await secret);
  }
}
