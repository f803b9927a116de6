// “View as code” follows its form: while it is open, it asks for the code of what stands in the form now.
import { attach } from "./behaviour.js";

attach("[data-as-code]", (fold) => {
  const form = fold.closest("form");
  const ask = (event) => {
    if (fold.open && (event.target === fold || !fold.contains(event.target))) fold.dispatchEvent(new Event("code:ask"));
  };
  fold.addEventListener("toggle", ask);
  // Buttons as well: presets of the traffic dialog write into its fields without a word.
  for (const name of ["input", "change", "click", "upload:chosen", "draft:restored"]) form.addEventListener(name, ask);
});
