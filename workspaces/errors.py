"""Errors that say whose fault they are; every door turns them into its own answer."""

from __future__ import annotations


class UserError(Exception):
    """Something the caller can mend: shown in full, never retried.

    `code` is stable and Azure's where Azure has one (facts 7.4); `target` names the field; `status` is for HTTP.
    """

    def __init__(
        self, message: str, *, code: str = "BadArgument", target: str = "", status: int = 400
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.target = target
        self.status = status


class NotFound(UserError):
    """What was named does not exist, or the caller may not know that it does."""

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message, code="ResourceNotFound", target=target, status=404)


class Forbidden(UserError):
    """The caller's role does not allow it."""

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message, code="AuthorizationFailed", target=target, status=403)


class Conflict(UserError):
    """The resource changed, or is busy, or is in a state that does not allow the verb."""

    def __init__(self, message: str, *, code: str = "Conflict", target: str = "") -> None:
        super().__init__(message, code=code, target=target, status=409)


class ContentChanged(Conflict):
    """A version that exists was to hold other files; versions never change."""


class ValidationFailed(UserError):
    """Several fields are wrong at once: `errors` holds one `UserError` each, in the order of the fields."""

    def __init__(self, errors: list[UserError]) -> None:
        super().__init__(
            " ".join(error.message for error in errors), target=errors[0].target if errors else ""
        )
        self.errors = errors


def all_of(errors: list[UserError]) -> UserError:
    """One error for several, those within them counted singly; what there is but one of stays itself."""
    flat = [
        item
        for error in errors
        for item in (error.errors if isinstance(error, ValidationFailed) else [error])
    ]
    return flat[0] if len(flat) == 1 else ValidationFailed(flat)


class PlatformError(Exception):
    """Our fault: logged with its traceback, shown as a short sentence, retried where that can help."""

    code = "InternalServerError"
