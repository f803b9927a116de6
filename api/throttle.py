"""Slows down who guesses secrets: failures are counted for a client at an address, so nobody can lock out others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.core.cache import cache

WINDOW_SECONDS = 60
MOST_FAILURES = 10
"""Of one client from one address in a window: then even the right secret has to wait there."""
MOST_FAILURES_OF_ADDRESS = 100
"""Of all clients from one address: then failures are told to wait, and right secrets still work."""


@dataclass(frozen=True)
class Attempts:
    """The failures of one client at one address, and those of the address. `client` may be empty."""

    client: str
    address: str

    @property
    def are_too_many(self) -> bool:
        """Whether this client must wait, before anything is looked at."""
        return bool(self.client) and _count(self._key) >= MOST_FAILURES

    def note_failure(self) -> bool:
        """Count one; whether it was one too many."""
        if self.client:
            _increase(self._key)
        return _increase(_key(self.address)) > MOST_FAILURES_OF_ADDRESS or self.are_too_many

    def forget(self) -> None:
        """After a success."""
        if self.client:
            cache.delete(self._key)

    @property
    def _key(self) -> str:
        return _key(self.address, self.client)


def _key(*parts: str) -> str:
    text = "\n".join(part.lower() for part in parts)
    return f"failures.{hashlib.sha256(text.encode()).hexdigest()}"


def _count(key: str) -> int:
    return int(cache.get(key, 0))


def _increase(key: str) -> int:
    cache.add(key, 0, WINDOW_SECONDS)
    try:
        return int(cache.incr(key))
    except ValueError:  # it ran out between the two
        return 1
