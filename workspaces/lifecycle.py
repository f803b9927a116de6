"""States and leases: the one gate through which long-lived things change state.

`move` is for verbs: legal by the model's table, compare-and-swap on the old state. `claim` and `settle` are for
background work: take the lease, act outside any transaction, write only while the lease is still ours.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, Self, TypeVar

from django.db import close_old_connections, models
from django.db.models import Q
from django.utils import timezone

from workspaces.errors import Conflict

Row = TypeVar("Row", bound=models.Model, covariant=True)


class LifecycleQuerySet(models.QuerySet[Row]):
    def due(self) -> Self:
        """Rows with work left that nobody holds."""
        now = timezone.now()
        return self.filter(due_at__lte=now).filter(
            Q(lease_until__isnull=True) | Q(lease_until__lte=now)
        )


class Lifecycle(models.Model):
    """A state, a lease, and the time at which something is next to be done."""

    MOVES: ClassVar[Mapping[str, set[str]]] = {}
    """Legal moves: old state → new states."""

    state = models.CharField(max_length=20)
    state_changed_at = models.DateTimeField(default=timezone.now)
    lease_token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        abstract = True

    def move(self, to: str, **changes: Any) -> None:
        """Change the state and `changes` in one guarded update; `Conflict` when it is not legal (any more)."""
        legal_from = [state for state, targets in self.MOVES.items() if to in targets]
        now = timezone.now()
        values = {"state": to, "state_changed_at": now, "due_at": now, **changes}
        moved = (
            type(self)
            ._base_manager.filter(pk=self.pk, state=self.state, state__in=legal_from)
            .update(**values)
        )
        if not moved:
            raise Conflict(
                f"{type(self)._meta.verbose_name} '{self}' is {self.current_state()}, "
                f"so it cannot become {to} now. Wait until the running operation ends, then try again.",
                target="state",
            )
        for name, value in values.items():
            setattr(self, name, value)

    def current_state(self) -> str:
        """The state in the database at this moment, or `Deleted`."""
        state = type(self)._base_manager.filter(pk=self.pk).values_list("state", flat=True).first()
        return state or "Deleted"

    @classmethod
    def claim(cls, pk: int, *, seconds: float) -> Self | None:
        """Take the lease if it is free or has run out; None when someone holds it or nothing is due."""
        token = secrets.token_hex(16)
        now = timezone.now()
        taken = (
            cls._base_manager.filter(pk=pk, due_at__lte=now)
            .filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))
            .update(lease_token=token, lease_until=now + timedelta(seconds=seconds))
        )
        if not taken:
            return None
        return cls._base_manager.filter(pk=pk, lease_token=token).first()

    def renew(self, *, seconds: float) -> bool:
        """Prolong a lease that is still ours."""
        until = timezone.now() + timedelta(seconds=seconds)
        kept = type(self)._base_manager.filter(pk=self.pk, lease_token=self.lease_token)
        return bool(kept.update(lease_until=until))

    @contextmanager
    def lease_kept(self, *, seconds: float) -> Iterator[threading.Event]:
        """Renew the lease from a thread while a long action runs; the event is set once the lease is lost."""
        lost, done = threading.Event(), threading.Event()

        def keep() -> None:
            while not done.wait(seconds / 3):
                try:
                    if not self.renew(seconds=seconds):
                        lost.set()
                finally:
                    close_old_connections()

        thread = threading.Thread(target=keep, name=f"lease-{self.pk}", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            thread.join()

    def settle(
        self, to: str | None = None, *, again_in_seconds: float | None = None, **changes: Any
    ) -> bool:
        """Give the lease back and write the outcome; False, and nothing written, when it was lost.

        A verb that moved the state meanwhile (a delete, a new update) wins: then only the lease is given
        back, and the row stays due.
        """
        mine = type(self)._base_manager.filter(pk=self.pk, lease_token=self.lease_token)
        now = timezone.now()
        due_at = None if again_in_seconds is None else now + timedelta(seconds=again_in_seconds)
        values: dict[str, Any] = {
            "lease_token": "",
            "lease_until": None,
            "due_at": due_at,
            **changes,
        }
        if to is not None and to != self.state:
            values |= {"state": to, "state_changed_at": now}
        if mine.filter(state=self.state).update(**values):
            for name, value in values.items():
                setattr(self, name, value)
            return True
        mine.update(lease_token="", lease_until=None)
        return False
