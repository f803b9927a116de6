// CodeMirror on <textarea data-editor="yaml|python|json">; the textarea stays the field that is sent.
// The editor lives in a shadow root, where CodeMirror uses adopted style sheets: the policy forbids <style> elements.
import { attach, meta, whenRemoved } from "./behaviour.js";

attach("textarea[data-editor]", async (area) => {
  const cm = await import(meta("vendor-codemirror"));
  if (!area.isConnected) return;
  const host = document.createElement("div");
  host.className = "editor";
  area.after(host);
  const root = host.attachShadow({ mode: "open" });
  const label = area.labels[0];
  const write = () => {
    area.value = view.state.doc.toString();
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const view = new cm.EditorView({
    root,
    parent: root,
    state: cm.EditorState.create({
      doc: area.value,
      extensions: [
        cm.basicSetup,
        // Tab indents; Escape, then Tab leaves, so the keyboard is never caught.
        cm.keymap.of([{ key: "Mod-Enter", run: () => submit(area) }, cm.indentWithTab]),
        cm.indentUnit.of(area.dataset.editor === "python" ? "    " : "  "),
        language(cm, area.dataset.editor),
        cm.EditorView.lineWrapping,
        cm.EditorState.readOnly.of(area.readOnly || area.disabled),
        cm.EditorView.contentAttributes.of({
          "aria-label": label?.textContent.trim() ?? area.getAttribute("aria-label") ?? area.name,
          "aria-multiline": "true",
        }),
        cm.EditorView.updateListener.of((update) => update.docChanged && write()),
        look(cm, area),
      ],
    }),
  });
  area.dataset.editing = "";
  area.tabIndex = -1;
  area.setAttribute("aria-hidden", "true");
  label?.addEventListener("click", () => view.focus());
  // What sets the textarea from outside (an example, a reset) shows in the editor.
  area.addEventListener("editor:read", () => {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: area.value } });
  });
  whenRemoved(area, () => view.destroy());
});

function language(cm, name) {
  if (name === "python") return cm.python();
  if (name === "json") return [cm.json(), cm.linter(cm.jsonParseLinter()), cm.lintGutter()];
  return cm.yaml();
}

function submit(area) {
  area.form?.requestSubmit();
  return true;
}

function look(cm, area) {
  const rows = area.rows || 12;
  const { tags } = cm;
  return [
    cm.EditorView.theme({
      "&": { color: "var(--text)", backgroundColor: "transparent", fontSize: "0.8125rem", maxHeight: "36rem" },
      "&.cm-focused": { outline: "none" },
      ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", minHeight: `${rows * 1.22}rem` },
      ".cm-content": { caretColor: "var(--accent)" },
      ".cm-cursor": { borderLeftColor: "var(--accent)" },
      ".cm-gutters": { color: "var(--text-soft)", backgroundColor: "transparent", borderRight: "1px solid var(--line)" },
      ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
      "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
        backgroundColor: "color-mix(in oklab, var(--accent) 28%, transparent)",
      },
      ".cm-panels, .cm-tooltip": { color: "var(--text)", backgroundColor: "var(--raised)", borderColor: "var(--line)" },
    }),
    cm.syntaxHighlighting(cm.HighlightStyle.define([
      { tag: [tags.keyword, tags.operatorKeyword, tags.bool, tags.null], color: "var(--code-keyword)" },
      { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
      { tag: [tags.number, tags.atom], color: "var(--code-number)" },
      { tag: [tags.comment, tags.meta], color: "var(--code-comment)", fontStyle: "italic" },
      { tag: [tags.propertyName, tags.definition(tags.variableName), tags.function(tags.variableName)], color: "var(--code-name)" },
    ])),
  ];
}
