"""Signs of life of what works in the background, so that the studio can say when something does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.models import Heartbeat

WATCH = "watch"
WORKER = "worker"
EXPECTED = (WATCH, WORKER)
SILENCE = timedelta(seconds=45)


@dataclass(frozen=True)
class Silence:
    """A process that should work in the background and gives no sign of it."""

    name: str
    since: datetime | None
    """Its last sign; None when it never gave one."""


def beat(name: str, faults: Mapping[str, str] | None = None) -> None:
    """Say that `name` is alive, and which of its tasks fail at the moment (task → why)."""
    Heartbeat.objects.update_or_create(
        name=name, defaults={"at": timezone.now(), "faults": dict(faults or {})}
    )


def silent(names: tuple[str, ...] = EXPECTED) -> list[Silence]:
    """Who has not been heard of for 45 s; one query."""
    heard = {row.name: row.at for row in Heartbeat.objects.filter(name__in=names)}
    limit = timezone.now() - SILENCE
    return [
        Silence(name, heard.get(name))
        for name in names
        if name not in heard or heard[name] < limit
    ]


def faults() -> dict[str, str]:
    """What fails at the moment in a process that is alive: task → why; one query."""
    found: dict[str, str] = {}
    for row in Heartbeat.objects.filter(at__gte=timezone.now() - SILENCE):
        found |= row.faults
    return found
