"""One colour for a deployment on every page and chart: a slot 1 to 8 of `--deployment-<slot>` in variables.css."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

SLOTS = 8
# A deployment named after a colour gets it: Azure's own examples are called blue and green.
NAMED = {
    "blue": 1, "green": 2, "orange": 3, "purple": 4, "violet": 4, "cyan": 5, "teal": 5, "sky": 5,
    "pink": 6, "magenta": 6, "red": 6, "yellow": 7, "gold": 7, "amber": 7,
    "grey": 8, "gray": 8, "black": 8, "white": 8,
}  # fmt: skip


def slots_of(names: Sequence[str]) -> dict[str, int]:
    """A slot for each name, in order of creation; all differ as long as there are at most eight."""
    found: dict[str, int] = {}
    for name in sorted(names, key=lambda name: name.lower() not in NAMED):
        wanted = slot_of(name)
        free = [slot for slot in range(1, SLOTS + 1) if slot not in found.values()]
        after = [slot for slot in free if slot >= wanted] + free
        found[name] = after[0] if after else wanted
    return found


def slot_of(name: str) -> int:
    """The slot of a name that stands alone: the same in every process and release."""
    known = NAMED.get(name.lower())
    if known is not None:
        return known
    return zlib.crc32(name.lower().encode()) % SLOTS + 1
