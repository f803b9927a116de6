// The traffic dialog: moving one share spreads the rest over those that are not locked, so the total stays 100.
// The number fields are the form; sliders, locks and presets only write into them.
import { attach } from "./behaviour.js";

/** `shares` with `moved` at `target`; the others give or take in proportion, whole numbers, total 100. */
export function spread(shares, moved, target, locked) {
  const open = shares.map((_, index) => index !== moved && !locked[index]);
  const fixed = shares.reduce((sum, share, index) => (index !== moved && !open[index] ? sum + share : sum), 0);
  const wanted = Math.max(0, Math.min(100 - fixed, target));
  const result = shares.map((share, index) => (index === moved ? wanted : share));
  const free = open.flatMap((isOpen, index) => (isOpen ? [index] : []));
  if (!free.length) return result;
  const rest = 100 - fixed - wanted;
  const before = free.reduce((sum, index) => sum + shares[index], 0);
  const exact = free.map((index) => (before ? (rest * shares[index]) / before : rest / free.length));
  free.forEach((index, at) => (result[index] = Math.floor(exact[at])));
  // The points lost by rounding go to the largest remainders.
  const missing = rest - free.reduce((sum, index) => sum + result[index], 0);
  free
    .map((index, at) => [exact[at] - Math.floor(exact[at]), index])
    .sort(([a], [b]) => b - a)
    .slice(0, missing)
    .forEach(([, index]) => (result[index] += 1));
  return result;
}

attach("form[data-traffic]", (form) => {
  const rows = [...form.querySelectorAll("[data-traffic-row]")].map((row) => ({
    name: row.dataset.trafficRow,
    slider: row.querySelector('input[type="range"]'),
    field: row.querySelector('input[type="number"]'),
    lock: row.querySelector("[data-traffic-lock]"),
  }));
  const total = form.querySelector("[data-traffic-total]");
  const submit = form.querySelector("[data-traffic-submit]");
  let start = null;

  const shares = () => rows.map(({ field }) => clamp(field.value));
  const isLocked = ({ lock, slider }) => slider.disabled || lock?.getAttribute("aria-pressed") === "true";

  const show = () => {
    for (const { name, slider, field } of rows) {
      slider.value = clamp(field.value);
      slider.setAttribute("aria-valuetext", `${name} ${slider.value} ${form.dataset.wordPercent ?? "percent"}`);
    }
    const sum = shares().reduce((a, b) => a + b, 0);
    const isRight = sum === 0 || sum === 100;
    total.textContent = (isRight ? form.dataset.wordTotal : form.dataset.wordWrong).replace("{n}", sum);
    total.toggleAttribute("data-wrong", !isRight);
    submit.disabled = !isRight;
  };
  const write = (values) => {
    values.forEach((value, index) => (rows[index].field.value = value));
    show();
  };
  const move = (index, target) => write(spread(start ?? shares(), index, target, rows.map(isLocked)));

  rows.forEach((row, index) => {
    // Shares are spread from where they stood when the drag or the typing began, so that going back restores them.
    const begin = () => (start = shares());
    for (const name of ["pointerdown", "focus"]) row.slider.addEventListener(name, begin);
    row.field.addEventListener("focus", begin);
    row.slider.addEventListener("input", () => move(index, Number(row.slider.value)));
    row.slider.addEventListener("change", begin);
    row.slider.addEventListener("keydown", (event) => {
      const step = { PageUp: 10, PageDown: -10 }[event.key];
      if (!step) return;
      event.preventDefault();
      move(index, clamp(row.slider.value) + step);
    });
    row.field.addEventListener("input", () => {
      if (row.field.value !== "" && row.field.validity.valid) move(index, clamp(row.field.value));
      else show();
    });
    row.lock?.addEventListener("click", () => {
      row.lock.setAttribute("aria-pressed", String(row.lock.getAttribute("aria-pressed") !== "true"));
    });
  });
  for (const button of form.querySelectorAll("[data-traffic-preset]")) {
    button.addEventListener("click", () => {
      const preset = JSON.parse(button.dataset.trafficPreset);
      start = null;
      write(preset === "swap" ? shares().reverse() : rows.map(({ name }) => preset[name] ?? 0));
    });
  }
  show();
});

function clamp(value) {
  return Math.max(0, Math.min(100, Math.round(Number(value)) || 0));
}
