// Rows to do something with: the box in the head selects all, and the bar below shows only while one is selected.
import { attach } from "./behaviour.js";

attach("form[data-selection]", (form) => {
  const all = form.querySelector("[data-select-all]");
  const bar = form.querySelector("[data-selection-bar]");
  const boxes = () => [...form.querySelectorAll('tbody input[type="checkbox"]')];
  const show = () => {
    const chosen = boxes().filter((box) => box.checked);
    if (bar) bar.hidden = chosen.length === 0;
    if (all) {
      all.checked = chosen.length > 0 && chosen.length === boxes().length;
      all.indeterminate = chosen.length > 0 && !all.checked;
    }
    for (const box of boxes()) box.closest("tr").setAttribute("aria-selected", String(box.checked));
  };
  all?.addEventListener("change", () => {
    for (const box of boxes()) box.checked = all.checked;
    show();
  });
  form.addEventListener("change", show);
  show();
});
