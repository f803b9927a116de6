// The test form: Ctrl/⌘-Enter sends from every field (the editor does so itself).
import { attach } from "./behaviour.js";

attach("form[data-scoring]", (form) => {
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
});
