// The create wizard: one form, whose sections [data-step] are shown one at a time, with a stepper, drafts and a review.
// `data-wizard="flat"` (the edit page) keeps all sections in sight. Without this script the form works as it stands.
import { attach, words } from "./behaviour.js";

// Not in drafts: files cannot be, secrets should not be.
const UNKEPT = new Set(["csrfmiddlewaretoken", "environment_variables", "for_endpoint"]);
const DRAFT_MS = 400;
const LONGEST_SUMMARY = 200;
const NAME = /^[a-zA-Z](?=.{2,31}$)[-a-zA-Z0-9]*[a-zA-Z0-9]$/;

// Sections that belong to a choice: data-shown-when="field=value|other value".
attach("[data-shown-when]", (section) => {
  const form = section.closest("form");
  const [name, values] = section.dataset.shownWhen.split("=");
  const wanted = values.split("|");
  const show = () => (section.hidden = !wanted.includes(new FormData(form).get(name)));
  form.addEventListener("change", show);
  form.addEventListener("draft:restored", show);
  show();
});

// Names as Azure allows them, judged while typing, with a way out.
attach("[data-azure-name]", (field) => {
  const form = field.closest("form");
  const error = document.createElement("p");
  error.className = "field__error";
  error.id = `${field.id}_error`;
  error.setAttribute("role", "status");
  const text = document.createElement("span");
  const fix = document.createElement("button");
  fix.type = "button";
  fix.className = "btn btn--plain btn--small";
  error.append(text, fix);
  error.hidden = true;
  field.closest(".field").append(error);
  const preview = document.getElementById(field.dataset.preview ?? "");

  const judge = ({ whileTyping }) => {
    const name = field.value;
    if (preview) preview.textContent = preview.dataset.pattern.replace("{name}", name || "…");
    // Two letters may become a name yet.
    const isRight = NAME.test(name) || !name || (whileTyping && /^[a-zA-Z][-a-zA-Z0-9]?$/.test(name));
    const better = isRight ? "" : suggested(name);
    text.textContent = isRight ? "" : form.dataset.wordName;
    fix.textContent = better ? form.dataset.wordSuggest.replace("{name}", better) : "";
    fix.hidden = !better;
    error.hidden = isRight;
    field.toggleAttribute("aria-invalid", false);
    if (!isRight) field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", `${field.id}_helptext${isRight ? "" : ` ${error.id}`}`);
  };
  fix.addEventListener("click", () => {
    field.value = suggested(field.value);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });
  field.addEventListener("input", () => judge({ whileTyping: true }));
  field.addEventListener("blur", () => judge({ whileTyping: false }));
  form.addEventListener("draft:restored", () => judge({ whileTyping: false }));
  judge({ whileTyping: true });
});

attach("[data-insert-template]", (button) => {
  button.hidden = false;
  button.addEventListener("click", () => {
    const area = document.getElementById(button.dataset.insertInto);
    write(area, document.getElementById(button.dataset.insertTemplate).content.textContent);
  });
});

attach("form[data-wizard]", (form) => {
  const isFlat = form.dataset.wizard === "flat";
  const sections = [...form.querySelectorAll("[data-step]")];
  const back = form.querySelector("[data-wizard-back]");
  const next = form.querySelector("[data-wizard-next]");
  const create = form.querySelector("[data-wizard-create]");
  const review = form.querySelector("[data-review]");
  const nav = form.querySelector("[data-wizard-steps]");
  const visited = new Set();
  const wrong = new Set();
  // A name of this step that cannot be, and a step whose name is still to come.
  const names = (index) => [...sections[index].querySelectorAll("[data-azure-name]")];
  const misnamed = (index) => names(index).find((field) => field.value && !NAME.test(field.value));
  const isUnnamed = (index) => names(index).some((field) => !field.value);
  let at = 0;

  if (!isFlat) nav.hidden = false;
  const buttons = isFlat ? [] : stepper(nav, sections, (index) => show(index));

  function show(index, { focus = true } = {}) {
    visited.add(at);
    at = Math.max(0, Math.min(sections.length - 1, index));
    const isLast = at === sections.length - 1;
    sections.forEach((section, number) => (section.hidden = number !== at));
    if (sections[at] === review) summarise(form, sections, review, goTo);
    back.hidden = at === 0;
    next.hidden = isLast;
    create.hidden = !isLast;
    mark();
    if (!focus) return;
    const heading = sections[at].querySelector("h2");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    if (form.getBoundingClientRect().top < 0) form.scrollIntoView();
  }

  /** The next step, unless a name on this one cannot be: then its error is shown. */
  function goOn() {
    const field = misnamed(at);
    if (!field) return show(at + 1);
    field.dispatchEvent(new Event("blur"));
    goTo(field);
  }

  function mark() {
    buttons.forEach(({ button, sign, state, place }, index) => {
      const isLeft = visited.has(index) && index !== at;
      const isWrong = wrong.has(index) || (isLeft && Boolean(misnamed(index)));
      const isDone = isLeft && !isUnnamed(index);
      button.toggleAttribute("data-wrong", isWrong);
      button.toggleAttribute("data-done", isDone && !isWrong);
      if (index === at) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
      sign.textContent = isWrong ? "!" : isDone ? "✓" : String(index + 1);
      state.textContent = isWrong ? form.dataset.wordWrong : isDone ? form.dataset.wordDone : "";
      place.hidden = index !== at;
    });
  }

  /** Show the step and the fold that hold the element, and put the focus on it. */
  function goTo(element) {
    const index = sections.findIndex((section) => section.contains(element));
    if (index < 0) return false;
    if (!isFlat && index !== at) show(index, { focus: false });
    for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    const host = element.matches("textarea[data-editing]") ? element.nextElementSibling : null;
    const focusable = "input:not([type=hidden]), select, textarea, button, summary";
    const target = element.matches(focusable) ? element : element.querySelector("input:checked") ?? element.querySelector(focusable) ?? element;
    (host ?? target).scrollIntoView({ block: "center" });
    if (host) host.shadowRoot.querySelector(".cm-content")?.focus();
    else target.focus({ preventScroll: true });
    return true;
  }

  back?.addEventListener("click", () => show(at - 1));
  next?.addEventListener("click", goOn);

  form.addEventListener("keydown", (event) => {
    const isField = event.target.matches("input:not([type=checkbox], [type=radio], [type=file]), select");
    if (event.key !== "Enter" || !isField || isFlat) return;
    event.preventDefault();
    goOn();
  });
  form.addEventListener("submit", (event) => {
    // Ctrl-Enter in an editor asks to send: only from the review.
    if (isFlat || at === sections.length - 1) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    goOn();
  }, { capture: true });

  // What was refused: each problem leads to its field, and its step is marked.
  form.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#id_"]');
    const element = link && document.getElementById(link.hash.slice(1));
    if (element && goTo(element)) event.preventDefault();
  });
  const read = () => {
    for (const field of form.querySelectorAll("[data-refused]")) {
      field.removeAttribute("data-refused");
      field.removeAttribute("aria-invalid");
    }
    wrong.clear();
    for (const link of form.querySelectorAll('#problems a[href^="#id_"]')) {
      const element = document.getElementById(link.hash.slice(1));
      const index = sections.findIndex((section) => section.contains(element));
      if (index >= 0) wrong.add(index);
      if (element?.matches("input, select, textarea")) {
        element.setAttribute("aria-invalid", "true");
        element.setAttribute("data-refused", "");
      }
    }
    mark();
  };
  form.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "preflight") return;
    read();
    const answer = document.getElementById("preflight");
    if (wrong.size || answer.querySelector("#problems li")) {
      answer.focus({ preventScroll: true });
      answer.scrollIntoView({ block: "nearest" });
    }
  });
  // Large model files go with Create alone.
  form.addEventListener("htmx:configRequest", (event) => {
    if (event.target.hasAttribute("data-wizard-check")) event.detail.formData.delete("model_files");
  });
  form.addEventListener("upload:chosen", (event) => {
    if (event.detail.name === "code_files") offerScripts(form, event.detail.chosen);
  });

  estimate(form);
  form.addEventListener("change", () => estimate(form));
  form.addEventListener("input", (event) => event.target.type === "number" && estimate(form));
  if (form.dataset.draft) keepDraft(form);
  read();

  const aim = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  const first = sections.findIndex((_section, index) => wrong.has(index));
  if (!isFlat) show(first < 0 ? 0 : first, { focus: false });
  if (aim && form.contains(aim)) {
    const index = sections.indexOf(aim);
    if (index >= 0 && !isFlat) show(index);
    else if (index < 0) goTo(aim);
    else aim.scrollIntoView();
  }
  addEventListener("hashchange", () => {
    const element = document.getElementById(location.hash.slice(1));
    if (element) goTo(element);
  });
});

/** The list of steps; each is a button, for people go back and forth. */
function stepper(nav, sections, choose) {
  const form = nav.closest("form");
  const list = document.createElement("ol");
  list.className = "stepper";
  const buttons = sections.map((section, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "stepper__step";
    const sign = document.createElement("span");
    sign.className = "stepper__sign";
    sign.setAttribute("aria-hidden", "true");
    const name = document.createElement("span");
    name.textContent = section.dataset.step;
    const place = document.createElement("span");
    place.className = "stepper__place";
    place.textContent = form.dataset.wordOf.replace("{n}", index + 1).replace("{all}", sections.length);
    const state = document.createElement("span");
    state.className = "visually-hidden";
    button.append(sign, name, place, state);
    button.addEventListener("click", () => choose(index));
    item.append(button);
    list.append(item);
    return { button, sign, state, place };
  });
  nav.append(list);
  return buttons;
}

/** What was chosen, step by step, as the labels of the fields have it. */
function summarise(form, sections, review, goTo) {
  const parts = sections.filter((section) => section !== review).map((section) => {
    const part = document.createElement("section");
    part.className = "summary";
    const head = document.createElement("div");
    head.className = "summary__head";
    const title = document.createElement("h3");
    title.textContent = section.dataset.step;
    const edit = document.createElement("button");
    edit.type = "button";
    edit.className = "btn btn--quiet";
    edit.textContent = form.dataset.wordEdit;
    edit.setAttribute("aria-label", `${form.dataset.wordEdit}: ${section.dataset.step}`);
    edit.addEventListener("click", () => goTo(section));
    head.append(title, edit);
    const facts = document.createElement("dl");
    facts.className = "facts";
    for (const [label, value] of factsOf(form, section)) {
      const term = document.createElement("dt");
      term.textContent = label;
      const detail = document.createElement("dd");
      detail.textContent = value.length > LONGEST_SUMMARY ? `${value.slice(0, LONGEST_SUMMARY)}…` : value;
      facts.append(term, detail);
    }
    part.append(head, facts);
    return part;
  });
  review.querySelector("[data-review-summary]").replaceChildren(...parts);
}

function factsOf(form, section) {
  const facts = [];
  const isOff = (element) => {
    for (let up = element.parentElement; up !== section; up = up.parentElement) {
      if (up.hidden || (up.matches("details:not([open])"))) return true;
    }
    return false;
  };
  for (const element of section.querySelectorAll("fieldset.options, input, select, textarea")) {
    if (isOff(element) || element.matches("fieldset input, [type=hidden]")) continue;
    const label = element.type === "file" ? form.dataset.wordChosen : (element.matches("fieldset") ? element.querySelector("legend") : element.labels?.[0])
      ?.firstChild?.textContent.trim() || element.labels?.[0]?.textContent.trim();
    const value = shown(form, element);
    if (label && value) facts.push([label, value]);
  }
  return facts;
}

function shown(form, element) {
  if (element.matches("fieldset")) return element.querySelector("input:checked")?.closest("label").textContent.trim();
  if (element.type === "checkbox") return element.checked ? form.dataset.wordYes : form.dataset.wordNo;
  if (element.type === "file") {
    const files = [...element.files];
    if (!files.length) return "";
    const count = files.length === 1 ? form.dataset.wordFile : form.dataset.wordFiles.replace("{n}", files.length);
    return `${count}, ${words(files.reduce((sum, file) => sum + file.size, 0))}`;
  }
  if (element.matches("select")) return element.value && element.selectedOptions[0].textContent.trim().replace(/\s+/g, " ");
  const lines = element.value.split("\n").filter((line) => line.trim()).length;
  // Names of variables are enough: their values may be secret.
  if (element.name === "environment_variables") {
    return element.value.split("\n").map((line) => line.split("=")[0].trim()).filter(Boolean).join(", ");
  }
  if (element.matches("textarea") && lines > 1) return form.dataset.wordLines.replace("{n}", lines);
  const unit = element.parentElement.querySelector(".field__unit")?.textContent ?? "";
  return element.value && `${element.value} ${unit}`.trim();
}

function estimate(form) {
  const box = form.querySelector("[data-estimate]");
  const type = form.elements.instance_type?.selectedOptions?.[0];
  const count = Number(form.elements.instance_count?.value);
  if (!box || !type?.dataset.price) return;
  box.hidden = !(count > 0);
  box.querySelector("[data-estimate-instances]").textContent = `${count} × ${type.value}`;
  box.querySelector("[data-estimate-memory]").textContent = type.dataset.memory;
  box.querySelector("[data-estimate-cost]").textContent = (count * Number(type.dataset.price)).toFixed(3);
}

/** The chosen folder's Python files, to pick the script from. */
function offerScripts(form, chosen) {
  const paths = chosen.map(({ path }) => path);
  const tops = new Set(paths.map((path) => path.split("/")[0]));
  const top = tops.size === 1 && paths.every((path) => path.includes("/")) ? `${[...tops][0]}/` : "";
  const scripts = paths.filter((path) => path.endsWith(".py")).map((path) => path.slice(top.length));
  document.getElementById("script-files").replaceChildren(...scripts.map((path) => new Option(path, path)));
  const field = form.elements.scoring_script;
  if (scripts.length && !scripts.includes(field.value)) {
    write(field, scripts.find((path) => path.endsWith("score.py")) ?? scripts[0]);
  }
}

/** Remember what is typed, for this tab alone, until it is created. */
function keepDraft(form) {
  const key = `portico.draft:${form.dataset.draft}`;
  const notice = form.querySelector("[data-draft-notice]");
  let timer = 0;
  const fields = () => [...form.elements].filter(
    (field) => field.name && !UNKEPT.has(field.name) && !["file", "hidden", "submit", "button"].includes(field.type),
  );
  const save = () => {
    const kept = {};
    for (const field of fields()) {
      if (field.type === "radio") kept[field.name] = field.checked ? field.value : (kept[field.name] ?? null);
      else kept[field.name] = field.type === "checkbox" ? field.checked : field.value;
    }
    storage((store) => store.setItem(key, JSON.stringify(kept)));
  };
  const restore = (kept) => {
    for (const field of fields()) {
      const value = kept[field.name];
      if (value === undefined || value === null) continue;
      if (field.type === "radio") field.checked = field.value === value;
      else if (field.type === "checkbox") field.checked = value;
      else if (field.matches("select")) {
        if ([...field.options].some((option) => option.value === value)) field.value = value;
      } else write(field, value);
    }
    form.dispatchEvent(new CustomEvent("draft:restored"));
    estimate(form);
  };
  const isRefused = Boolean(form.querySelector("#problems li"));
  const kept = storage((store) => store.getItem(key));
  // A link that fills something in, or a refused form, knows better than the draft.
  if (kept && !location.search && !isRefused) {
    restore(JSON.parse(kept));
    notice.hidden = false;
  }
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, DRAFT_MS);
  });
  addEventListener("pagehide", () => timer && save());
  const forget = () => {
    clearTimeout(timer);
    timer = 0;
    storage((store) => store.removeItem(key));
  };
  form.querySelector("[data-draft-discard]").addEventListener("click", () => {
    forget();
    location.reload();
  });
  form.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) forget();
  });
}

function storage(act) {
  try {
    return act(sessionStorage);
  } catch {
    // A browser that keeps nothing keeps no drafts.
    return null;
  }
}

/** Set a field, and the editor that stands for it. */
function write(field, value) {
  field.value = value;
  field.dispatchEvent(new CustomEvent("editor:read"));
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function suggested(name) {
  const better = name.replace(/[^a-zA-Z0-9]+/g, "-").replace(/^[^a-zA-Z]+/, "").slice(0, 32).replace(/-+$/, "");
  return NAME.test(better) ? better : "";
}
