// <details data-menu> behaves like a menu: one open at a time, arrows move, Escape gives the focus back.
import { attach } from "./behaviour.js";

attach("details[data-menu]", (menu) => {
  const summary = menu.querySelector("summary");
  const items = () => [...menu.querySelectorAll(".menu__item:not([disabled])")];
  const close = () => {
    menu.open = false;
    summary.focus();
  };
  menu.addEventListener("toggle", () => {
    if (!menu.open) return;
    for (const other of document.querySelectorAll("details[data-menu][open]")) {
      if (other !== menu) other.open = false;
    }
  });
  menu.addEventListener("keydown", (event) => {
    const list = items();
    const at = list.indexOf(document.activeElement);
    if (event.key === "Escape" && menu.open) {
      event.stopPropagation();
      close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      menu.open = true;
      const step = event.key === "ArrowDown" ? 1 : -1;
      list.at(at < 0 && step < 0 ? -1 : (at + step) % list.length)?.focus();
    } else if (menu.open && (event.key === "Home" || event.key === "End")) {
      event.preventDefault();
      list.at(event.key === "Home" ? 0 : -1)?.focus();
    }
  });
  menu.addEventListener("click", (event) => {
    if (event.target.closest("a.menu__item, button.menu__item")) menu.open = false;
  });
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
