"""Text that programs of users wrote, made fit for a database, a page and a terminal."""

from __future__ import annotations

import re

# Colours, cursor movements, window titles; the last also when it never ends.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# All controls but tab and newline, and halves of characters, which no encoding has.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """Without sequences for terminals; what else cannot be stored or shown is a `�`."""
    return _UNFIT.sub("\ufffd", _SEQUENCES.sub("", text))
