"""What programs of others wrote, made fit for the terminal of whoever reads it."""

from __future__ import annotations

import re
import sys

_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")
# Cursor movements, window titles and other orders; the last also when it never ends.
_ORDERS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str) -> str:
    """As it is for a file or a pipe; for a terminal without orders to it. Colours stay, and end with their line."""
    return harmless(text) if sys.stdout.isatty() else text


def harmless(text: str) -> str:
    """Without sequences that do more than colour; other controls but tab and newline become `\ufffd`."""
    return "\n".join(_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def _line(line: str) -> str:
    parts = _COLOURS.split(line)
    parts[::2] = [_CONTROLS.sub("\ufffd", _ORDERS.sub("", part)) for part in parts[::2]]
    return "".join(parts) + ("\x1b[0m" if len(parts) > 1 else "")
