"""Which lines of a console tell why something failed: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

EVIDENCE_LINES = 12
LOOKED_AT = 200
"""So many lines before the end may hold them."""
BANNER_ENDS = "Score:          POST"
"""The last line of what the inference server says of itself at every start."""
BEGINNINGS = ("Traceback (most recent call last)", "Fatal Python error")
LEFT_OUT = "…"
ANSWERED = re.compile(
    r'"(?:GET|HEAD) \S+ HTTP/[\d.]+" [23]\d\d\b|azmlinfsrv - (?:GET|HEAD) \S+ [23]\d\d '
)
"""A line of an access log as probes leave them: no evidence, but that the server lived."""


def telling(lines: Sequence[str]) -> tuple[str, ...]:
    """At most twelve lines: from the last traceback on, else the last ones after the server's banner.

    What a server printed before it answered well did not end it: such a traceback is left out.
    """
    found = [line for line in lines[-LOOKED_AT:] if line.strip(" \0\r\n\t")]
    banner = _last(found, lambda line: line.startswith(BANNER_ENDS))
    if banner is not None and found[banner + 1 :]:
        found = found[banner + 1 :]
    answered = _last(found, lambda line: ANSWERED.search(line) is not None)
    if answered is not None:
        if _last(found[:answered], _begins_traceback) is not None:
            found = found[answered + 1 :]
        found = [line for line in found if not ANSWERED.search(line)]
    begin = _last(found, _begins_traceback)
    if begin is None:
        return tuple(found[-EVIDENCE_LINES:])
    found = found[begin:]
    if len(found) > EVIDENCE_LINES:
        found = [found[0], LEFT_OUT, *found[-(EVIDENCE_LINES - 2) :]]
    return tuple(found)


def _begins_traceback(line: str) -> bool:
    return any(words in line for words in BEGINNINGS)


def _last(lines: Sequence[str], fits: Callable[[str], bool]) -> int | None:
    return next((i for i in reversed(range(len(lines))) if fits(lines[i])), None)
