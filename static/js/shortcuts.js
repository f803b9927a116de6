// Single keys (ux: `?` `/` `g e` `c` `r` `t` `j` `k` `x` Enter `[` `]`). An element takes a key with `data-key`;
// a navigation link takes `g <key>` with `data-go`. They can be switched off in the help.
import { attach, isTyping } from "./behaviour.js";

const KEY = "portico.shortcuts";
const GO_MS = 1200;
let goUntil = 0;
let isOn = read() !== "off";

attach("[data-shortcuts-switch]", (box) => {
  box.checked = isOn;
  box.addEventListener("change", () => {
    isOn = box.checked;
    write(isOn ? "on" : "off");
  });
});

document.addEventListener("keydown", (event) => {
  if (!isOn || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (act(event.key)) event.preventDefault();
});

function act(key) {
  if (Date.now() < goUntil) {
    goUntil = 0;
    return press(`[data-go="${CSS.escape(key)}"]`);
  }
  switch (key) {
    case "g":
      goUntil = Date.now() + GO_MS;
      return true;
    case "/":
      return focus("[data-search]") || press("[data-palette-open]");
    case "r":
      return press('[data-key="r"]') || (location.reload(), true);
    case "j":
      return moveRow(1);
    case "k":
      return moveRow(-1);
    case "x":
      return press("tr[data-row]:focus input[type=checkbox], tr[data-row]:focus-within input[type=checkbox]");
    case "Enter":
      return document.activeElement.matches("tr[data-row]") && press("tr[data-row]:focus a[href]");
    case "[":
      return moveTab(-1);
    case "]":
      return moveTab(1);
    default:
      return press(`[data-key="${CSS.escape(key)}"]`);
  }
}

function press(selector) {
  const found = [...document.querySelectorAll(selector)].find((element) => !element.disabled);
  found?.click();
  return Boolean(found);
}

function focus(selector) {
  const field = document.querySelector(selector);
  field?.focus();
  return Boolean(field);
}

function moveRow(step) {
  const rows = [...document.querySelectorAll("tr[data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
  if (!next) return false;
  next.tabIndex = -1;
  next.focus();
  return true;
}

function moveTab(step) {
  const tabs = [...document.querySelectorAll(".tabs__link[href]")];
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-current") === "page");
  if (at < 0) return false;
  tabs.at((at + step) % tabs.length).click();
  return true;
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function write(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Without storage the switch holds for this page.
  }
}
