"""How long tokens and secrets may live."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from workspaces.errors import UserError

NO_END = timedelta.max
"""Asks for something that never expires."""


def longest() -> timedelta:
    """What the operator allows at most; `NO_END` without a limit."""
    days: int = settings.TOKEN_MAX_DAYS
    return timedelta(days=days) if days else NO_END


def usual() -> timedelta:
    """For who does not ask for another."""
    return min(timedelta(days=settings.TOKEN_DEFAULT_DAYS), longest())


def end_of(lifetime: timedelta | None, *, target: str) -> datetime | None:
    """When what is made now ends: the usual lifetime for None; None for what never ends."""
    wanted = usual() if lifetime is None else lifetime
    if wanted <= timedelta(0):
        raise UserError(
            "A lifetime must be longer than nothing: give it a day or more.", target=target
        )
    most = longest()
    if wanted > most:
        asked = "no end" if wanted == NO_END else f"{wanted.days} days"
        raise UserError(
            f"The lifetime asked for is {asked}, and {most.days} days is the longest that the operator allows "
            "(setting PORTICO_TOKEN_MAX_DAYS).",
            target=target,
        )
    return None if wanted == NO_END else timezone.now() + wanted
