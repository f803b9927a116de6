// Upload zones: files or a folder, by button or drop, in any multipart form, which works without this script too.
// Browsers strip folders from the names of files: for each file of field `x` a hidden `x_paths` carries its path
// (for the field `files`: `paths`). A form that htmx sends shows progress in each [data-upload-progress].
import { attach, toast, words } from "./behaviour.js";

const MOST_LISTED = 200;

attach("[data-upload-zone]", (zone) => {
  const list = zone.querySelector("[data-upload-list]");
  const inputs = [...zone.querySelectorAll('input[type="file"]')];
  const [{ name }] = inputs;
  const paths = document.createElement("span");
  paths.hidden = true;
  zone.append(paths);

  /** Show and send `chosen`, a list of {file, path}, which `input` holds. */
  const choose = (input, chosen) => {
    for (const other of inputs) if (other !== input) other.value = "";
    paths.replaceChildren(...chosen.map(({ path }) => {
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = name === "files" ? "paths" : `${name}_paths`;
      field.value = path;
      return field;
    }));
    const rows = chosen.slice(0, MOST_LISTED).map(({ path, file }) => row(path, words(file.size)));
    if (chosen.length > MOST_LISTED) rows.push(row("…", `+ ${chosen.length - MOST_LISTED}`));
    list.replaceChildren(...rows);
    zone.dispatchEvent(new CustomEvent("upload:chosen", { bubbles: true, detail: { name, chosen } }));
  };

  for (const input of inputs) {
    input.addEventListener("change", () => {
      choose(input, [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    });
  }
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("upload--over");
  });
  for (const event of ["dragleave", "drop"]) {
    zone.addEventListener(event, () => zone.classList.remove("upload--over"));
  }
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const found = (await Promise.all(entries.map(walk))).flat();
    const held = new DataTransfer();
    for (const { file } of found) held.items.add(file);
    inputs[0].files = held.files;
    choose(inputs[0], found);
  });
});

attach("form:has([data-upload-zone])", (form) => {
  const lines = () => form.querySelectorAll("[data-upload-progress]");
  const size = () => [...form.querySelectorAll('input[type="file"]')]
    .flatMap((input) => [...input.files])
    .reduce((sum, file) => sum + file.size, 0);
  const hide = () => lines().forEach((line) => (line.hidden = true));

  form.addEventListener("htmx:xhr:progress", (event) => {
    const { loaded, total, lengthComputable } = event.detail;
    // The same event tells of the answer, which is shorter than the files.
    if (event.target !== form || !lengthComputable || !size() || total < size()) return;
    for (const line of lines()) {
      line.hidden = false;
      line.querySelector("progress").value = (100 * loaded) / total;
      line.querySelector("[data-upload-words]").textContent =
        loaded < total ? `${words(loaded)} / ${words(total)}` : line.dataset.wordSaving ?? words(total);
    }
  });
  for (const name of ["htmx:xhr:abort", "htmx:afterRequest"]) form.addEventListener(name, hide);
  form.addEventListener("htmx:sendError", () => form.dataset.wordFailed && toast(form.dataset.wordFailed, "error"));
  form.addEventListener("click", (event) => {
    if (event.target.closest("[data-upload-stop]")) globalThis.htmx.trigger(form, "htmx:abort");
  });
});

function row(path, size) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = "wrap-anywhere";
  name.textContent = path;
  const amount = document.createElement("span");
  amount.className = "soft nowrap";
  amount.textContent = size;
  item.append(name, amount);
  return item;
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader hands out at most a hundred entries at a time.
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(walk))).flat());
  }
}
