"""Reads request bodies: strict about the fields we use, silent about those we do not know.

A reader returns the value or its default and notes what is wrong; `finish` tells the caller of all of it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from datetime import timedelta
from reprlib import Repr
from typing import Any, TypeVar

from django.utils.dateparse import parse_duration

from workspaces.errors import UserError, all_of

T = TypeVar("T")
LONGEST_TEXT = 10_000
_show = Repr()
_show.maxstring = _show.maxother = _show.maxlong = 60


class Body:
    """A JSON object at `path`. Null is the same as absent, as in what the SDK leaves out."""

    def __init__(
        self, values: Mapping[str, Any], path: str = "", errors: list[UserError] | None = None
    ) -> None:
        self.values = values
        self.path = path
        self.errors: list[UserError] = [] if errors is None else errors

    def text(self, name: str, default: str = "", *, longest: int = LONGEST_TEXT) -> str:
        def check(value: Any) -> bool:
            return isinstance(value, str) and len(value) <= longest

        return self._value(name, default, check, f"a text of at most {longest} characters")

    def whole(self, name: str, default: int) -> int:
        def check(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31

        return self._value(name, default, check, "a whole number")

    def amount(self, name: str, default: float) -> float:
        """A number from 0 on."""

        def check(value: Any) -> bool:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and 0 <= value < 2**60

        return self._value(name, default, check, "a number from 0 on")

    def share(self, name: str, default: float) -> float:
        """A number from 0 to 1."""

        def check(value: Any) -> bool:
            return (
                isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
            )

        return self._value(name, default, check, "a number from 0 to 1")

    def flag(self, name: str, default: bool) -> bool:
        return self._value(name, default, lambda value: isinstance(value, bool), "true or false")

    def texts(self, name: str, default: Mapping[str, str]) -> dict[str, str]:
        def check(value: Any) -> bool:
            return isinstance(value, dict) and all(
                isinstance(item, str) for item in value.values()
            )

        return dict(self._value(name, default, check, "an object whose values are texts"))

    def merged_texts(self, name: str, current: Mapping[str, str]) -> dict[str, str]:
        """A change of a map, key by key (facts 2.1); null takes a key away."""

        def check(value: Any) -> bool:
            return isinstance(value, dict) and all(
                item is None or isinstance(item, str) for item in value.values()
            )

        changes: dict[str, str | None] = self._value(
            name, {}, check, "an object whose values are texts or null"
        )
        both = {**current, **changes}
        return {key: value for key, value in both.items() if value is not None}

    def mapping(self, name: str, default: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._value(name, default, lambda value: isinstance(value, dict), "an object"))

    def texts_list(self, name: str) -> list[str]:
        def check(value: Any) -> bool:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)

        return list(self._value(name, [], check, "a list of texts"))

    def records(self, name: str) -> list[Body]:
        """The objects of a list; their errors are told with ours."""

        def check(value: Any) -> bool:
            return isinstance(value, list) and all(isinstance(item, dict) for item in value)

        found: list[dict[str, Any]] = self._value(name, [], check, "a list of objects")
        return [
            Body(item, f"{self._at(name)}[{number}]", self.errors)
            for number, item in enumerate(found)
        ]

    def section(self, name: str) -> Body:
        """The object of that name, empty when it is absent; its errors are told with ours."""
        return Body(self.mapping(name, {}), self._at(name), self.errors)

    def without(self, name: str, keys: Set[str]) -> Body:
        """The same without some keys of the object `name`."""
        inner = self.values.get(name)
        if not isinstance(inner, dict):
            return self
        left = {key: value for key, value in inner.items() if key not in keys}
        return Body({**self.values, name: left}, self.path, self.errors)

    def choice(self, name: str, choices: Mapping[str, str], default: str) -> str:
        """Azure's word (without regard to case) as ours."""
        words = {word.lower(): ours for word, ours in choices.items()}

        def check(value: Any) -> bool:
            return isinstance(value, str) and value.lower() in words

        wanted = self._value(name, None, check, f"one of {', '.join(choices)}")
        return default if wanted is None else words[str(wanted).lower()]

    def duration(self, name: str, default: timedelta) -> timedelta:
        """ISO 8601, such as PT5S or PT0.4S."""
        found = self._value(name, None, _is_duration, "an ISO 8601 duration such as PT5S")
        return default if found is None else _duration(found)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def run(self, check: Callable[[], T], default: T) -> T:
        """The outcome of a look-up; what it refuses is noted with the rest."""
        try:
            return check()
        except UserError as error:
            self.errors.append(error)
            return default

    def finish(self) -> None:
        """Raise for all that was wrong."""
        if self.errors:
            raise all_of(self.errors)

    def _value(self, name: str, default: T, check: Callable[[Any], bool], wanted: str) -> T:
        value = self.values.get(name)
        if value is None:
            return default
        if not check(value):
            place = self._at(name)
            self.errors.append(
                UserError(f"{place} is {_show.repr(value)}. It must be {wanted}.", target=place)
            )
            return default
        found: T = value
        return found

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def iso_duration(value: timedelta) -> str:
    """`PT5S`, `PT0.4S`: seconds alone, which every reader of ISO 8601 takes."""
    text = f"{value / timedelta(seconds=1):.6f}".rstrip("0").rstrip(".")
    return f"PT{text}S"


def _is_duration(value: Any) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"P[0-9DTHMS.]{1,40}", value):
        return False
    try:
        return parse_duration(value) is not None
    except (OverflowError, ValueError):
        return False


def _duration(text: str) -> timedelta:
    found = parse_duration(text)
    assert found is not None
    return found
