"""Reads a deployment's log: what its instances print, and what provisioning did and said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from deployments.models import OnlineDeployment, Phase
from monitoring import segments
from monitoring.filters import LineFilter, line_filter
from monitoring.follow import SOURCE, Owner, folder_of
from workspaces.errors import UserError

CONSOLE = SOURCE
STORAGE_INITIALIZER = "storage-initializer"
BUILD = "build"
EVENTS = "events"
SOURCES = (CONSOLE, STORAGE_INITIALIZER, BUILD, EVENTS)
PHASES_OF = {
    STORAGE_INITIALIZER: (Phase.Name.FETCH_MODEL,),
    BUILD: (Phase.Name.BUILD_ENVIRONMENT,),
}
MOST_LINES = 5000
SEARCH_SECONDS = 2.0
"""A search that finds little gives up for the moment after this; the page's cursors let it go on."""


@dataclass(frozen=True)
class Line:
    cursor: int
    """Number of the line in the deployment's log, from 1 without a gap; 0 for lines that are no console's."""
    time: datetime
    instance: str
    level: str
    """`debug`, `info`, `warning`, `error`, `critical`, or empty when the line does not tell."""
    source: str
    text: str
    continues: bool = False
    """Whether it belongs to the line before it, as the lines of a traceback do."""


@dataclass(frozen=True)
class Page:
    lines: list[Line]
    """Oldest first."""
    cursor: int
    """Ask for what comes `after` this next."""
    oldest: int
    """Ask for what came `before` this to go back."""
    has_more: bool
    """Whether there may be more in the direction of reading."""


def tail(
    deployment: OnlineDeployment,
    *,
    lines: int = 500,
    instance: str | None = None,
    source: str | None = None,
    level: str | None = None,
    text: str | None = None,
    before: int | None = None,
    after: int | None = None,
) -> Page:
    """The newest lines; with `before`, the newest ahead of that cursor; with `after`, the oldest behind it.

    `level` is the least one wanted, `text` plain text or a `/regular expression/`. Sources other than
    `inference-server` are short and come whole: cursors do not matter there. Raises `UserError`.
    """
    if source and source not in SOURCES:
        raise UserError(
            f"There is no log source '{source}'. Use one of {', '.join(SOURCES)}.", target="source"
        )
    wanted = line_filter(instance=instance, source=source, level=level, text=text)
    lines = max(1, min(lines, MOST_LINES))
    if source and source != CONSOLE:
        found = [line for line in _told(deployment, source) if _passes(wanted, line)]
        return Page(found[-lines:], cursor=0, oldest=0, has_more=len(found) > lines)
    folder = folder_of_deployment(deployment)
    if after is not None:
        return read_after(folder, after, lines=lines, wanted=wanted)
    return _read_before(folder, before, lines=lines, wanted=wanted)


def folder_of_deployment(deployment: OnlineDeployment) -> Path:
    owner = Owner(deployment.endpoint.name, deployment.name, deployment.pk)
    return folder_of(settings.SEGMENTS_ROOT, owner)


def read_after(folder: Path, after: int, *, lines: int, wanted: LineFilter) -> Page:
    """Console lines behind a cursor, oldest first."""
    found: list[Line] = []
    reached, until = after, time.monotonic() + SEARCH_SECONDS
    for record in segments.forwards(folder, after=after):
        reached = record["cursor"]
        line = _line(record)
        if _passes(wanted, line):
            found.append(line)
        if len(found) >= lines or (reached % 256 == 0 and time.monotonic() > until):
            return Page(found, reached, found[0].cursor if found else after, has_more=True)
    return Page(found, reached, found[0].cursor if found else after, has_more=False)


def _read_before(folder: Path, before: int | None, *, lines: int, wanted: LineFilter) -> Page:
    found: list[Line] = []
    newest, oldest, has_more = 0, before or 0, False
    until = time.monotonic() + SEARCH_SECONDS
    for record in segments.backwards(folder, before=before):
        oldest = record["cursor"]
        newest = newest or oldest
        line = _line(record)
        if _passes(wanted, line):
            found.append(line)
        if len(found) >= lines or (oldest % 256 == 0 and time.monotonic() > until):
            has_more = oldest > 1
            break
    return Page(found[::-1], cursor=newest, oldest=oldest, has_more=has_more)


def _line(record: segments.Record) -> Line:
    return Line(
        cursor=record["cursor"],
        time=datetime.fromisoformat(record["time"]),
        instance=record["instance"],
        level=record["level"],
        source=record["source"],
        text=record["text"],
        continues=record["continues"],
    )


def _passes(wanted: LineFilter, line: Line) -> bool:
    return wanted.passes(
        instance=line.instance, source=line.source, level=line.level, text=line.text
    )


def _told(deployment: OnlineDeployment, source: str) -> Iterable[Line]:
    """What provisioning wrote down, oldest first."""
    phases = Phase.objects.filter(operation__deployment=deployment).select_related("operation")
    if source == EVENTS:
        return sorted(_events(phases), key=lambda line: line.time)
    return _phase_logs(phases.filter(name__in=PHASES_OF[source]), source)


def _phase_logs(phases: Iterable[Phase], source: str) -> Iterator[Line]:
    for phase in phases:
        for number, text in enumerate(phase.log.splitlines()):
            yield Line(0, phase.started_at, "", "info", source, text, continues=number > 0)


def _events(phases: Iterable[Phase]) -> Iterator[Line]:
    for phase in phases:
        what = f"{phase.operation.kind}: {phase.name}"
        yield Line(0, phase.started_at, "", "info", EVENTS, f"{what} started")
        if phase.ended_at is None:
            continue
        failed = phase.state == Phase.State.FAILED
        cause = phase.operation.failure.get("cause", "") if failed else ""
        text = f"{what} {phase.state.lower()} after {phase.duration.total_seconds():.1f} s"
        yield Line(
            0,
            phase.ended_at,
            "",
            "error" if failed else "info",
            EVENTS,
            f"{text}: {cause}" if cause else text,
        )
