// How every behaviour finds its elements: by a data attribute, on the first page and after each swap.

/** Call `start(element)` once for each element that matches `selector`, present or swapped in later. */
export function attach(selector, start) {
  const started = new WeakSet();
  const scan = (root) => {
    const found = root.matches?.(selector) ? [root] : [];
    for (const element of [...found, ...root.querySelectorAll(selector)]) {
      if (started.has(element)) continue;
      started.add(element);
      start(element);
    }
  };
  scan(document);
  document.addEventListener("htmx:load", (event) => scan(event.detail.elt));
}

/** Call `stop()` when htmx takes `element` off the page. */
export function whenRemoved(element, stop) {
  element.addEventListener("htmx:beforeCleanupElement", (event) => {
    if (event.target === element) stop();
  });
}

/** Show a toast; see toast.js. */
export function toast(text, level = "info") {
  document.dispatchEvent(new CustomEvent("toast", { detail: { items: [{ text, level }] } }));
}

/** The value of a <meta name=…> of the page. */
export function meta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content ?? "";
}

/** Whether a key press is meant for a field, not for a shortcut. */
export function isTyping(target) {
  return target instanceof Element && Boolean(target.closest("input, textarea, select, [contenteditable], .editor"));
}

/** Bytes as the studio writes them: “1.4 MiB”. */
export function words(bytes) {
  let amount = bytes;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (amount < 1000) return `${Number(amount.toPrecision(3))} ${unit}`;
    amount /= 1024;
  }
  return `${Number(amount.toPrecision(3))} GiB`;
}
