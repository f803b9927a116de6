// Light, Dark, System without a reload; the server keeps the choice (the form works without this script).
import { attach } from "./behaviour.js";

attach("form[data-theme-form]", (form) => {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const theme = event.submitter.value;
    const body = new FormData(form);
    body.set("theme", theme);
    show(theme);
    for (const button of form.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === theme));
    }
    await fetch(form.action, { method: "POST", body, headers: { "HX-Request": "true" } });
  });
});

function show(theme) {
  if (theme === "system") delete document.documentElement.dataset.bsTheme;
  else document.documentElement.dataset.bsTheme = theme;
  document.dispatchEvent(new CustomEvent("theme:changed"));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.dispatchEvent(new CustomEvent("theme:changed"));
});
