"""`--add` and `--remove` of az's update commands: changes of a YAML dict beside those of `--set`."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.faults import UsageFault


@dataclass(frozen=True)
class Addition:
    """`--add a.b x`: to a list an item, of `key=value` words one object; to an object those keys."""

    path: str
    words: tuple[str, ...]

    def apply(self, values: dict[str, Any]) -> None:
        if not self.words:
            raise UsageFault(f"--add {self.path}: say what, such as --add tags team=red.")
        holder, name = _holder(values, self.path, "--add", makes=True)
        pairs = [word.partition("=") for word in self.words]
        is_pairs = all(key and sign for key, sign, _ in pairs) and self.words[0][0] not in "{["
        found = holder.get(name)
        if found is None:
            found = holder[name] = {} if is_pairs else []
        if isinstance(found, dict) and is_pairs:
            found.update({key: value for key, _, value in pairs})
        elif isinstance(found, list):
            items = (
                [{key: value for key, _, value in pairs}]
                if is_pairs
                else list(map(_value, self.words))
            )
            found.extend(items)
        else:
            raise UsageFault(
                f"--add {self.path}: it is neither a list nor an object to which key=value can be added. Use --set."
            )


@dataclass(frozen=True)
class Removal:
    """`--remove a.b`, or `--remove a.b 0` for an item of a list."""

    path: str
    words: tuple[str, ...]

    def apply(self, values: dict[str, Any]) -> None:
        holder, name = _holder(values, self.path, "--remove")
        if name not in holder:
            raise UsageFault(f"--remove {self.path}: there is no such property.")
        if not self.words:
            del holder[name]
            return
        items, number = holder[name], self.words[0]
        if not isinstance(items, list) or not number.isdecimal() or int(number) >= len(items):
            raise UsageFault(f"--remove {self.path} {number}: there is no such item of a list.")
        del items[int(number)]


Edit = str | Addition | Removal
"""`--set`'s text, or one of the others."""


def texts(edits: Iterable[Edit] | None) -> list[str]:
    """Those of `--set`."""
    return [edit for edit in edits or [] if isinstance(edit, str)]


def edited(values: Mapping[str, Any], edits: Iterable[Edit] | None) -> dict[str, Any]:
    """A copy changed by `--add` and `--remove`, in their order."""
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    for edit in edits or []:
        if not isinstance(edit, str):
            edit.apply(changed)
    return changed


def _holder(
    values: dict[str, Any], path: str, flag: str, *, makes: bool = False
) -> tuple[dict[str, Any], str]:
    """The object in which the last word of `a.b.c` is, and that word."""
    *steps, name = path.split(".")
    holder: Any = values
    for step in steps:
        found = holder.get(step)
        if found is None and makes:
            found = holder[step] = {}
        if not isinstance(found, dict):
            raise UsageFault(f"{flag} {path}: there is no object '{step}'.")
        holder = found
    return holder, name


def _value(word: str) -> Any:
    if word[:1] in {"{", "["}:
        try:
            return json.loads(word)
        except ValueError:
            return word
    return word
