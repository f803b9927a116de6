// Copy buttons: `data-copy` holds the text, or `data-copy-from` the id of the element that does.
import { toast } from "./behaviour.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copyFrom ?? "");
  const text = button.dataset.copy ?? source?.value ?? source?.textContent.trim() ?? "";
  const isCopied = (await withClipboard(text)) || withSelection(text);
  if (!isCopied) {
    toast(button.dataset.copyFailed ?? "Copying is not allowed here. Select the text and copy it.", "error");
    return;
  }
  button.dataset.copied = "";
  announce(button.dataset.copyDone ?? "Copied");
  setTimeout(() => delete button.dataset.copied, 1500);
});

async function withClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// Over plain http from another machine there is no clipboard API.
function withSelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.className = "visually-hidden";
  const focused = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return isCopied;
}

function announce(text) {
  const region = document.getElementById("announcer");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = text));
}
