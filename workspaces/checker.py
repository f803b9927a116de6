"""Collects what is wrong with a wish, so that whoever made it hears of every field at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspaces.errors import UserError, ValidationFailed


class Checker:
    """Each method says whether the value is right, and notes an error that names the field when it is not."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def that(self, is_right: bool, target: str, message: str) -> bool:
        if not is_right:
            self.errors.append(UserError(message, target=target))
        return is_right

    def whole(self, value: object, target: str, low: int, high: int) -> bool:
        return self.that(
            isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
            target,
            f"{target} is {value!r}. It must be a whole number from {low} to {high}.",
        )

    def text(self, value: object, target: str, longest: int) -> bool:
        return self.that(
            isinstance(value, str) and len(value) <= longest and "\x00" not in value,
            target,
            f"{target} must be a text of at most {longest} characters.",
        )

    def flag(self, value: object, target: str) -> bool:
        return self.that(
            isinstance(value, bool), target, f"{target} is {value!r}. It must be true or false."
        )

    def texts(self, value: object, target: str) -> bool:
        return self.that(
            isinstance(value, dict)
            and all(isinstance(key, str) and isinstance(item, str) for key, item in value.items()),
            target,
            f"{target} is {value!r}. It must map texts to texts.",
        )

    def choice(self, value: object, target: str, allowed: Sequence[str]) -> bool:
        return self.that(
            value in allowed, target, f"{target} is {value!r}. Use one of {', '.join(allowed)}."
        )

    def run(self, check: Any, *arguments: Any, **keywords: Any) -> Any:
        """The result of a check that raises `UserError`, or None once its error is noted."""
        try:
            return check(*arguments, **keywords)
        except UserError as error:
            self.errors.append(error)
            return None

    def finish(self) -> None:
        """Raise for all that was wrong."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ValidationFailed(self.errors)
