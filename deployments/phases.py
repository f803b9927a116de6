"""The named phases of an operation: begun, logged, ended, and how long they usually take."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta

from django.db.models import QuerySet, Value
from django.db.models.functions import Concat, Right
from django.utils import timezone

from deployments.models import EnvironmentBuild, OnlineDeployment, Operation, Phase

LOG_CHARACTERS = 400_000
FLUSH_SECONDS = 0.5
HISTORY = 11


FOUND = "found"


def enter(
    operation: Operation,
    name: str,
    *,
    deadline_seconds: float | None = None,
    build_kind: str = "",
) -> Phase:
    """The running phase `name`, begun now if it was not; the phase before it has succeeded."""
    now = timezone.now()
    phase, is_new = Phase.objects.get_or_create(
        operation=operation,
        name=name,
        defaults={
            "started_at": now,
            "expected_seconds": expected_seconds(operation, name, build_kind=build_kind),
            "build_kind": build_kind,
            "deadline_at": now + timedelta(seconds=deadline_seconds) if deadline_seconds else None,
        },
    )
    if is_new:
        operation.phases.filter(state=Phase.State.RUNNING).exclude(pk=phase.pk).update(
            state=Phase.State.SUCCEEDED, ended_at=now
        )
    return phase


def finish(operation: Operation, state: str, failure: dict[str, object] | None = None) -> None:
    """End the operation and its running phases in `state`; one that has ended stays as it is."""
    now = timezone.now()
    operation.phases.filter(state=Phase.State.RUNNING).update(state=state, ended_at=now)
    Operation.objects.filter(pk=operation.pk, state=Operation.State.RUNNING).update(
        state=state, ended_at=now, failure=failure or {}
    )


def note_found(phase: Phase) -> None:
    """It had been built before: how long that took tells nothing of builds."""
    Phase.objects.filter(pk=phase.pk).update(build_kind=FOUND)


def expected_seconds(operation: Operation, name: str, *, build_kind: str = "") -> float | None:
    """Median of the last runs of this phase for the same kind of operation, and of build, in the workspace."""
    rows = Phase.objects.filter(
        name=name,
        state=Phase.State.SUCCEEDED,
        build_kind=build_kind,
        operation__kind=operation.kind,
        operation__deployment__endpoint__workspace=operation.deployment.endpoint.workspace_id,
    ).order_by("-started_at")[:HISTORY]
    seconds = [row.duration.total_seconds() for row in rows]
    return statistics.median(seconds) if seconds else None


def builds_of(deployment: OnlineDeployment) -> QuerySet[Phase]:
    """The builds of its environments, the newest first, each with its operation; the log may still grow."""
    rows = Phase.objects.filter(
        operation__deployment=deployment, name=Phase.Name.BUILD_ENVIRONMENT
    )
    return rows.select_related("operation").order_by("-started_at", "-pk")


class RowLog:
    """Appends lines to a row's log, written twice a second and cut at the front when it grows too long."""

    def __init__(self, row: Phase | EnvironmentBuild) -> None:
        self._row = row
        self._lines: list[str] = []
        self._flushed_at = 0.0

    def __call__(self, line: str) -> None:
        self._lines.append(line.replace("\x00", ""))
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self._lines:
            return
        text = "".join(f"{line}\n" for line in self._lines)
        self._lines.clear()
        type(self._row)._base_manager.filter(pk=self._row.pk).update(
            log=Right(Concat("log", Value(text)), LOG_CHARACTERS)
        )
        self._flushed_at = time.monotonic()
