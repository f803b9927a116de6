"""Which log lines a reader wants. A pattern of theirs may take only so long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import regex

from workspaces.errors import UserError

LEVELS = ("debug", "info", "warning", "error", "critical")
LONGEST_PATTERN = 500
PATTERN_SECONDS = 2.0

Matches = Callable[[str], bool]


@dataclass(frozen=True)
class LineFilter:
    """Empty fields let every line pass."""

    instance: str = ""
    source: str = ""
    level: str = ""
    """The least level wanted: `warning` lets errors pass too."""
    matches: Matches | None = None

    def passes(self, *, instance: str, source: str, level: str, text: str) -> bool:
        if self.instance and instance != self.instance:
            return False
        if self.source and source != self.source:
            return False
        if self.level and (level not in LEVELS or LEVELS.index(level) < LEVELS.index(self.level)):
            return False
        return self.matches is None or self.matches(text)


def line_filter(
    *,
    instance: str | None = None,
    source: str | None = None,
    level: str | None = None,
    text: str | None = None,
) -> LineFilter:
    """`text` is looked for without regard to case; `/…/` is a regular expression. Raises `UserError`."""
    level = (level or "").lower()
    if level and level not in LEVELS:
        raise UserError(
            f"There is no log level '{level}'. Use one of {', '.join(LEVELS)}.", target="level"
        )
    return LineFilter(instance or "", source or "", level, _matches(text) if text else None)


def _matches(text: str) -> Matches:
    if len(text) < 3 or text[0] != "/" or text[-1] != "/":
        folded = text.casefold()
        return lambda line: folded in line.casefold()
    source = text[1:-1]
    if len(source) > LONGEST_PATTERN:
        raise UserError(
            f"The regular expression has {len(source)} characters. At most {LONGEST_PATTERN} are allowed.",
            target="text",
        )
    try:
        pattern = regex.compile(source)
    except regex.error as error:
        raise UserError(
            f"The regular expression /{source}/ is not valid: {error}. Mend it, or search for plain text "
            "without the slashes.",
            target="text",
        ) from error
    return _Timed(pattern)


class _Timed:
    """Searches line after line with one budget of time for all that is searched at a stretch."""

    def __init__(self, pattern: regex.Pattern[str]) -> None:
        self._pattern = pattern
        self._left = PATTERN_SECONDS

    def __call__(self, line: str) -> bool:
        begun = time.monotonic()
        try:
            return self._pattern.search(line, timeout=max(self._left, 0.001)) is not None
        except TimeoutError:
            raise UserError(
                f"The regular expression /{self._pattern.pattern}/ takes too long on these lines. Use a "
                "simpler one, without repeats inside repeats.",
                target="text",
            ) from None
        finally:
            self._left -= time.monotonic() - begun
