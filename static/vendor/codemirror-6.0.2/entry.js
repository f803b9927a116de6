// The one bundle of CodeMirror that static/js/editor.js imports. See ../README.md for how it is made.
import { basicSetup } from "codemirror";
import { indentWithTab } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { linter, lintGutter } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export {
  basicSetup, Compartment, EditorState, EditorView, HighlightStyle, indentUnit, indentWithTab, json,
  jsonParseLinter, keymap, linter, lintGutter, python, syntaxHighlighting, tags, yaml,
};
