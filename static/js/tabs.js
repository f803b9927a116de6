// Tabs as a select on phones; language tabs of code blocks, remembered on this device.
import { attach } from "./behaviour.js";

const KEY = "portico.language";

attach("select[data-tabs]", (select) => {
  select.addEventListener("change", () => location.assign(select.value));
});

attach("[data-code-tabs]", (block) => {
  const tabs = [...block.querySelectorAll('[role="tab"]')];
  const show = (tab) => {
    for (const other of tabs) {
      const isShown = other === tab;
      other.setAttribute("aria-selected", String(isShown));
      other.tabIndex = isShown ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !isShown;
    }
    const copy = block.querySelector("[data-copy-from]");
    if (copy) copy.dataset.copyFrom = `${tab.getAttribute("aria-controls")}-code`;
  };
  const choose = (tab) => {
    remember(tab.dataset.language);
    document.dispatchEvent(new CustomEvent("code:language", { detail: tab.dataset.language }));
    tab.focus();
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(tabs.at((tabs.indexOf(tab) + step) % tabs.length));
    });
  }
  const follow = (language) => {
    const wanted = tabs.find((tab) => tab.dataset.language === language);
    if (wanted) show(wanted);
  };
  document.addEventListener("code:language", (event) => follow(event.detail));
  follow(recall());
});

function remember(language) {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // A browser that keeps nothing still switches tabs.
  }
}

function recall() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
