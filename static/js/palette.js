// The command palette (Ctrl/⌘-K): the pages that are in the dialog already, and what the server finds for the words.
// The server answers `?q=` with {"items": [{"label", "url", "hint", "icon"}]}.
import { attach } from "./behaviour.js";

const WAIT_MS = 120;

attach("[data-palette]", (dialog) => {
  const input = dialog.querySelector("input");
  const list = dialog.querySelector('[role="listbox"]');
  const none = dialog.querySelector("[data-palette-none]");
  const pages = [...list.children];
  let asked = null;
  let timer = 0;
  let current = 0;

  const shown = () => [...list.children].filter((item) => !item.hidden);
  const select = (index) => {
    const items = shown();
    current = items.length ? (index + items.length) % items.length : 0;
    items.forEach((item, at) => item.setAttribute("aria-selected", String(at === current)));
    const chosen = items[current];
    input.setAttribute("aria-activedescendant", chosen?.id ?? "");
    chosen?.scrollIntoView({ block: "nearest" });
    none.hidden = items.length > 0;
  };
  const openItem = (item) => item && location.assign(item.dataset.url);

  const search = async () => {
    const words = input.value.trim().toLowerCase();
    for (const page of pages) page.hidden = !page.textContent.toLowerCase().includes(words);
    if (dialog.dataset.url) {
      asked?.abort();
      asked = new AbortController();
      const found = await fetchItems(`${dialog.dataset.url}?q=${encodeURIComponent(words)}`, asked.signal);
      if (found === null) return;
      list.replaceChildren(...pages, ...found.map((item, index) => build(dialog, item, index)));
    }
    select(0);
  };

  const show = () => {
    if (dialog.open) return;
    input.value = "";
    dialog.showModal();
    search();
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      select(current + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      openItem(shown()[current]);
    }
  });
  list.addEventListener("click", (event) => openItem(event.target.closest("[data-url]")));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      show();
    }
  });
  for (const opener of document.querySelectorAll("[data-palette-open]")) {
    opener.addEventListener("click", show);
  }
});

/** The server's finds; none while it does not answer, null if a newer question has been asked. */
async function fetchItems(url, signal) {
  try {
    const response = await fetch(url, { signal, headers: { Accept: "application/json" } });
    return response.ok ? (await response.json()).items : [];
  } catch (error) {
    return error.name === "AbortError" ? null : [];
  }
}

function build(dialog, { label, url, hint = "", icon = "plug-connected" }, index) {
  const item = dialog.querySelector("template").content.firstElementChild.cloneNode(true);
  item.id = `palette-found-${index}`;
  item.dataset.url = url;
  item.querySelector("[data-label]").textContent = label;
  item.querySelector("[data-hint]").textContent = hint;
  const use = item.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*$/, `#${icon}`));
  return item;
}
