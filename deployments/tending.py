"""Tends one instance: starts it when it should run, notes how it ended, follows what its probes found.

`deployments.instances` decides how many there are; here is what becomes of each.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from deployments.installation import runtime_of
from deployments.models import DebugSession, Instance, InstanceSpan
from deployments.probes import Kind, Memory, begun, first_ready, may_restart, stays_in_routes
from deployments.probing import remember, rules_of
from deployments.runtimes import InstanceStatus, Runtime
from deployments.runtimes import Phase as RuntimePhase
from deployments.runtimes.printable import printable
from deployments.runtimes.telling import LOOKED_AT, telling
from deployments.staging import instance_spec

DRAIN_SECONDS = 3
REMOVE_GRACE_SECONDS = 10
LOST_GRACE_SECONDS = 2
LONGEST_PAUSE_SECONDS = 60.0
GOOD_AFTER = timedelta(minutes=1)
SURGE_SHARE = 0.2
STARTED = (Instance.State.HEALTHY, Instance.State.UNREADY)


@dataclass
class Seen:
    """What one look at a revision's instances found."""

    wanted: int
    starting: list[Instance] = field(default_factory=list)
    healthy: list[Instance] = field(default_factory=list)
    unready: list[Instance] = field(default_factory=list)
    """Were ready, and fail their readiness probe now: `watch` sees when they are back."""
    exited: list[tuple[Instance, InstanceStatus]] = field(default_factory=list)
    older: int = 0
    """Instances of other revisions that still serve."""
    draining: int = 0

    @property
    def is_settled(self) -> bool:
        """All wanted instances have started and nothing else is left."""
        started = len(self.healthy) + len(self.unready)
        return started == self.wanted and not self.older and not self.draining


@dataclass(frozen=True)
class Late:
    """What late answers lead to, for all instances of a deployment together."""

    stay: set[str]
    """Stay in the routes though they are not ready."""
    restart: set[str]
    """May be restarted now, of those that are lost."""

    @classmethod
    def among(cls, rows: list[Instance], count: int) -> Late:
        late, lost, down = [], [], 0
        for row in rows:
            memory = Memory.read(row.probes)
            if memory is None or row.state not in STARTED:
                down += not is_draining(row)
            elif memory.is_lost and memory.tally(memory.lost_by).is_late:
                lost.append(row.name)
            if memory is not None and memory.is_unready_late:
                late.append((row.name, row.state != Instance.State.HEALTHY))
        at_once = max(1, int(SURGE_SHARE * count))
        return cls(
            stay=stays_in_routes(late, instance_count=count),
            restart=may_restart(lost, down=down, at_once=at_once),
        )


def wish(row: Instance, memory: Memory | None, late: Late) -> str:
    """The state that a running instance ought to be in, by what its probes found."""
    if memory is None:
        return Instance.State.STARTING
    if memory.is_lost:
        is_limited = row.state in STARTED and memory.tally(memory.lost_by).is_late
        if not is_limited or row.name in late.restart:
            return Instance.State.EXITED
    if memory.is_ready or row.name in late.stay:
        return Instance.State.HEALTHY
    return Instance.State.UNREADY


def tend(row: Instance, seen: Seen, late: Late) -> None:
    """Look at one wanted instance; start it when it should run and does not."""
    if row.restart_requested_at is not None and not _is_stopped_to_restart(row):
        seen.starting.append(row)
        return
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase == RuntimePhase.ABSENT:
        if row.state == Instance.State.EXITED and row.start_after > timezone.now():
            seen.exited.append((row, _noted(row)))
            return
        status = ensure(row)
        save(row, state=Instance.State.STARTING, address="", doubted_at=None, probes={})
    elif status.phase == RuntimePhase.EXITED:
        if row.state != Instance.State.EXITED:
            note_exit(row, status)
            if row.ready_at is None:
                # Told before it is started again: what it met while it loaded, it may meet each time.
                seen.exited.append((row, status))
                return
        if row.start_after <= timezone.now():
            restarted = ensure(row)
            if restarted.phase != RuntimePhase.EXITED:
                status = restarted
                save(row, state=Instance.State.STARTING, address="", probes={})
            else:
                note_exit(row, restarted)
    if status.phase == RuntimePhase.EXITED:
        seen.exited.append((row, status))
        return
    memory = memory_of(row, status)
    if memory is None:
        seen.starting.append(row)
    elif memory.is_lost and wish(row, memory, late) == Instance.State.EXITED:
        seen.exited.append((row, _end_lost(row, memory)))
    elif not memory.was_ready:
        seen.starting.append(row)
    else:
        _follow(row, status, memory, late)
        (seen.healthy if row.is_healthy else seen.unready).append(row)


def _is_stopped_to_restart(row: Instance) -> bool:
    """Out of the routes first; stopped once requests in flight had their time. Whether it is stopped now."""
    now = timezone.now()
    if row.state in STARTED:
        start_after = now + in_flight(row)
        save(row, state=Instance.State.STARTING, address="", start_after=start_after)
        return False
    if row.state == Instance.State.STARTING and row.start_after > now:
        return False
    runtime_of(row.revision).remove(row.name, grace_seconds=REMOVE_GRACE_SECONDS)
    save(
        row,
        restart_requested_at=None,
        state=Instance.State.STARTING,
        address="",
        restarts=0,
        probes={},
        ready_at=None,
    )
    return True


def in_flight(row: Instance) -> timedelta:
    """The time for the requests that it has now."""
    seconds = row.revision.request_timeout_ms / 1000 if row.state == Instance.State.HEALTHY else 0
    return timedelta(seconds=min(seconds, REMOVE_GRACE_SECONDS) + DRAIN_SECONDS)


def memory_of(row: Instance, status: InstanceStatus) -> Memory | None:
    """What is known of this very run, ready from its first good look on where its rules ask for no more."""
    if status.started_at is None or not status.address:
        return Memory.read(row.probes)
    run = status.started_at.isoformat()
    memory = Memory.read(row.probes)
    rules = rules_of(row.revision)
    if memory is None or memory.run != run:
        was_unprobed = memory is None and row.is_healthy
        began_at = status.started_at.timestamp()
        memory = begun(rules, run=run, began_at=began_at, address=status.address)
        if was_unprobed:
            memory = first_ready(memory)
        elif row.state != Instance.State.STARTING:
            save(row, state=Instance.State.STARTING, address="")
        save(row, probes=memory.kept(), started_at=status.started_at)
    elif memory.address != status.address:
        memory = replace(memory, address=status.address)
        remember(row, memory)
    may_be_ready = rules.one_look_is_enough and not memory.was_ready and not memory.is_lost
    if may_be_ready and status.phase == RuntimePhase.HEALTHY:
        memory = first_ready(memory)
        remember(row, memory)
    return memory


def _follow(row: Instance, status: InstanceStatus, memory: Memory, late: Late) -> None:
    """In the routes or out of them, as the readiness probe found."""
    if memory.is_ready:
        note_healthy(row, status)
    elif row.name in late.stay and row.is_healthy:
        if row.doubted_at is None:
            save(row, doubted_at=timezone.now(), reason=memory.why(Kind.READINESS))
    elif row.state != Instance.State.UNREADY:
        save(
            row,
            state=Instance.State.UNREADY,
            address="",
            doubted_at=None,
            code="ResourceNotReady",
            reason=memory.why(Kind.READINESS),
        )


def _end_lost(row: Instance, memory: Memory) -> InstanceStatus:
    """End an instance whose liveness probe is exhausted; it starts again after its pause."""
    house = runtime_of(row.revision)
    status = InstanceStatus(
        RuntimePhase.EXITED,
        code="ResourceNotReady",
        reason=memory.why(memory.lost_by),
        evidence=_last_lines(house, row.name, memory),
    )
    if row.state != Instance.State.EXITED:
        failing_since = datetime.fromtimestamp(memory.tally(memory.lost_by).failing_since, UTC)
        note_exit(row, status, was_good_until=failing_since)
    house.remove(row.name, grace_seconds=LOST_GRACE_SECONDS)
    return status


def _last_lines(house: Runtime, name: str, memory: Memory) -> tuple[str, ...]:
    lines = house.logs(name, since=datetime.fromtimestamp(memory.began_at, UTC))
    return telling([printable(line.text) for line in deque(lines, maxlen=LOOKED_AT)])


def _noted(row: Instance) -> InstanceStatus:
    """How an instance ended that is not there any more."""
    return InstanceStatus(
        RuntimePhase.EXITED, code=row.code, reason=row.reason, evidence=tuple(row.evidence)
    )


def look(row: Instance, late: Late) -> None:
    """Keep the address of an older instance true, without starting it again."""
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase in (RuntimePhase.ABSENT, RuntimePhase.EXITED):
        if row.state in STARTED:
            save(row, state=Instance.State.EXITED, address="")
        return
    memory = memory_of(row, status)
    if memory is not None and memory.was_ready:
        _follow(row, status, memory, late)


def ensure(row: Instance) -> InstanceStatus:
    status = runtime_of(row.revision).ensure(instance_spec(row.revision, row.number))
    open_span(row)
    if status.node != row.node:
        save(row, node=status.node)
    return status


def note_healthy(row: Instance, status: InstanceStatus) -> None:
    if row.state == Instance.State.HEALTHY and row.address == status.address:
        if row.doubted_at is not None:
            save(row, doubted_at=None, reason="")
        return
    save(
        row,
        state=Instance.State.HEALTHY,
        address=status.address,
        doubted_at=None,
        ready_at=timezone.now(),
        code="",
        reason="",
        evidence=[],
    )


def note_exit(
    row: Instance, status: InstanceStatus, *, was_good_until: datetime | None = None
) -> None:
    """Remember why, and pause longer each time; an instance that served well for a minute starts at once."""
    until = was_good_until or timezone.now()
    was_good = row.ready_at is not None and until - row.ready_at > GOOD_AFTER
    restarts = 1 if was_good else row.restarts + 1
    pause = min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(restarts, 10)) if restarts > 1 else 0.0
    save(
        row,
        state=Instance.State.EXITED,
        address="",
        doubted_at=None,
        restarts=restarts,
        start_after=timezone.now() + timedelta(seconds=pause),
        code=status.code,
        reason=status.reason,
        evidence=list(status.evidence),
        last_exit={
            "at": timezone.now().isoformat(),
            "code": status.code,
            "reason": status.reason,
            "evidence": list(status.evidence),
            "exit_code": status.exit_code,
        },
    )


def save(row: Instance, **changes: object) -> None:
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))


def open_span(row: Instance | DebugSession) -> None:
    """Costs run from now on, at today's price."""
    if InstanceSpan.objects.filter(instance_name=row.name, ended_at__isnull=True).exists():
        return
    endpoint, size = row.deployment.endpoint, row.revision.instance_type
    InstanceSpan.objects.create(
        workspace_id=endpoint.workspace_id,
        endpoint_name=endpoint.name,
        deployment_name=row.deployment.name,
        instance_name=row.name,
        instance_type=size.name,
        price_per_hour=size.price_per_hour,
        started_at=timezone.now(),
    )


def close_span(row: Instance | DebugSession) -> None:
    InstanceSpan.objects.filter(instance_name=row.name, ended_at__isnull=True).update(
        ended_at=timezone.now()
    )


def is_draining(row: Instance) -> bool:
    return row.state == Instance.State.DRAINING
