"""Brings the instances of a deployment to what is wanted: starts, replaces, drains, counts what is held.

`converge` looks at rows and at the runtime, does what can be done now, and says what it saw. It never waits,
may be repeated, and may die at any line: the row comes before the process and goes after it.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from deployments.changes import upstream_facts
from deployments.installation import runtime_of, runtimes_in_use
from deployments.models import Instance, InstanceSpan, OnlineDeployment, Revision
from deployments.probes import Kind, Memory, begun, first_ready, may_restart, stays_in_routes
from deployments.probing import remember, rules_of
from deployments.runtimes import InstanceStatus, KnowsRunning, Runtime, RuntimeAway
from deployments.runtimes import Phase as RuntimePhase
from deployments.staging import instance_name, instance_spec
from endpoints.gateway import publish

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 3
REMOVE_GRACE_SECONDS = 10
LOST_GRACE_SECONDS = 2
LONGEST_PAUSE_SECONDS = 60.0
GOOD_AFTER = timedelta(minutes=1)
EVIDENCE_LINES = 12
SURGE_SHARE = 0.2


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


def converge(deployment: OnlineDeployment, revision: Revision, *, count: int) -> Seen:
    """Take the next steps towards `count` instances of `revision`, older ones serving until then."""
    seen = Seen(wanted=count)
    rows = list(deployment.instances.select_related("revision"))
    current = [row for row in rows if row.revision_id == revision.pk and not _is_draining(row)]
    older = [row for row in rows if row.revision_id != revision.pk and not _is_draining(row)]
    late = _Late.among([*current, *older], count)
    for row in current:
        if row.number >= count:
            _drain(row)
        else:
            _tend(row, seen, late)
    for row in older:
        _look(row, late)
    _start_more(deployment, revision, count, current, older, seen)
    _retire_older(older, count, seen)
    _register(deployment, revision)
    for row in deployment.instances.filter(state=Instance.State.DRAINING):
        _finish_draining(row, seen)
    seen.older = sum(not _is_draining(row) for row in older)
    return seen


def drain_revision(deployment: OnlineDeployment, revision: Revision) -> None:
    """Take the instances of a revision that failed out of service."""
    for row in deployment.instances.filter(revision=revision).exclude(
        state=Instance.State.DRAINING
    ):
        _drain(row)


def drain_all(deployment: OnlineDeployment) -> int:
    """Stop and forget every instance, requests in flight first; the number that is left."""
    for row in deployment.instances.exclude(state=Instance.State.DRAINING):
        _drain(row)
    publish.set_addresses(deployment.endpoint, deployment.name, [])
    seen = Seen(wanted=0)
    for row in deployment.instances.all():
        _finish_draining(row, seen)
    return deployment.instances.count()


@dataclass
class Running:
    """What runs, asked once for each runtime that can tell at once, one by one of the others."""

    _known: dict[int, set[str]] = field(default_factory=dict)

    def is_as_told(self, row: Instance) -> bool:
        """Whether the instance runs, where its row says; yes while its runtime cannot be asked."""
        try:
            return self._runs(row, runtime_of(row.revision))
        except RuntimeAway as error:
            logger.warning("instance %s cannot be looked at: %s", row.name, error)
            return True

    def _runs(self, row: Instance, house: Runtime) -> bool:
        if isinstance(house, KnowsRunning):
            if id(house) not in self._known:
                self._known[id(house)] = house.running()
            return row.name in self._known[id(house)]
        status = house.inspect(row.name)
        if status.phase == RuntimePhase.HEALTHY and row.is_healthy:
            return status.address == row.address
        return status.phase in (RuntimePhase.STARTING, RuntimePhase.HEALTHY)


def needs_attention(deployment: OnlineDeployment, running: Running) -> bool:
    """Whether what runs, or what probes found, differs from what the rows say; cheap, changes nothing."""
    rows = list(deployment.instances.all())
    serving = deployment.serving_revision_id
    if sum(row.revision_id == serving for row in rows) != deployment.instance_count:
        return True
    now = timezone.now()
    late = _Late.among(rows, deployment.instance_count)
    for row in rows:
        if row.state not in _STARTED or row.revision_id != serving:
            if row.start_after <= now:
                return True
        elif _wish(row, Memory.read(row.probes), late) != row.state or not running.is_as_told(row):
            return True
    return False


def remove_orphans() -> list[str]:
    """Remove what runs under our mark without a row; the names that were removed."""
    # Rows are read after the processes: an instance started meanwhile has its row already.
    removed = []
    for house in runtimes_in_use():
        running = list(house.owned())
        known = set(Instance.objects.filter(name__in=running).values_list("name", flat=True))
        for name in running:
            if name not in known:
                logger.warning("removing orphan instance %s", name)
                house.remove(name)
                removed.append(name)
    return removed


def stop_all() -> None:
    """Stop every instance for a clean stop of the installation; the rows stay, so the next start finds what to run."""
    for row in Instance.objects.select_related("deployment__endpoint", "revision"):
        runtime_of(row.revision).remove(row.name, grace_seconds=REMOVE_GRACE_SECONDS)
        _close_span(row)
        Instance.objects.filter(pk=row.pk).exclude(state=Instance.State.DRAINING).update(
            state=Instance.State.STARTING, address="", ready_at=None, probes={}
        )
        publish.set_addresses(row.deployment.endpoint, row.deployment.name, [])


def _is_draining(row: Instance) -> bool:
    return row.state == Instance.State.DRAINING


_STARTED = (Instance.State.HEALTHY, Instance.State.UNREADY)


@dataclass(frozen=True)
class _Late:
    """What late answers lead to, for all instances of a deployment together."""

    stay: set[str]
    """Stay in the routes though they are not ready."""
    restart: set[str]
    """May be restarted now, of those that are lost."""

    @classmethod
    def among(cls, rows: list[Instance], count: int) -> _Late:
        late, lost, down = [], [], 0
        for row in rows:
            memory = Memory.read(row.probes)
            if memory is None or row.state not in _STARTED:
                down += not _is_draining(row)
            elif memory.is_lost and memory.tally(memory.lost_by).is_late:
                lost.append(row.name)
            if memory is not None and memory.is_unready_late:
                late.append((row.name, row.state != Instance.State.HEALTHY))
        at_once = max(1, int(SURGE_SHARE * count))
        return cls(
            stay=stays_in_routes(late, instance_count=count),
            restart=may_restart(lost, down=down, at_once=at_once),
        )


def _wish(row: Instance, memory: Memory | None, late: _Late) -> str:
    """The state that a started instance ought to be in, by what its probes found."""
    if memory is None:
        return Instance.State.STARTING
    if memory.is_lost and (row.name in late.restart or not memory.tally(memory.lost_by).is_late):
        return Instance.State.EXITED
    if memory.is_ready or row.name in late.stay:
        return Instance.State.HEALTHY
    return Instance.State.UNREADY


def _tend(row: Instance, seen: Seen, late: _Late) -> None:
    """Look at one wanted instance; start it when it should run and does not."""
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase == RuntimePhase.ABSENT:
        if row.state == Instance.State.EXITED and row.start_after > timezone.now():
            seen.exited.append((row, _noted(row)))
            return
        status = _ensure(row)
        _save(row, state=Instance.State.STARTING, address="", doubted_at=None, probes={})
    elif status.phase == RuntimePhase.EXITED:
        if row.state != Instance.State.EXITED:
            _note_exit(row, status)
        if row.start_after <= timezone.now():
            restarted = _ensure(row)
            if restarted.phase != RuntimePhase.EXITED:
                status = restarted
                _save(row, state=Instance.State.STARTING, address="", probes={})
            else:
                _note_exit(row, restarted)
    if status.phase == RuntimePhase.EXITED:
        seen.exited.append((row, status))
        return
    memory = _memory(row, status)
    if memory is None:
        seen.starting.append(row)
    elif memory.is_lost and _wish(row, memory, late) == Instance.State.EXITED:
        seen.exited.append((row, _end_lost(row, memory)))
    elif not memory.was_ready:
        seen.starting.append(row)
    else:
        _follow(row, status, memory, late)
        (seen.healthy if row.is_healthy else seen.unready).append(row)


def _memory(row: Instance, status: InstanceStatus) -> Memory | None:
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
        elif row.state in _STARTED:
            _save(row, state=Instance.State.STARTING, address="")
        _save(row, probes=memory.kept())
    elif memory.address != status.address:
        memory = replace(memory, address=status.address)
        remember(row, memory)
    may_be_ready = rules.one_look_is_enough and not memory.was_ready and not memory.is_lost
    if may_be_ready and status.phase == RuntimePhase.HEALTHY:
        memory = first_ready(memory)
        remember(row, memory)
    return memory


def _follow(row: Instance, status: InstanceStatus, memory: Memory, late: _Late) -> None:
    """In the routes or out of them, as the readiness probe found."""
    if memory.is_ready:
        _note_healthy(row, status)
    elif row.name in late.stay and row.is_healthy:
        if row.doubted_at is None:
            _save(row, doubted_at=timezone.now(), reason=memory.why(Kind.READINESS))
    elif row.state != Instance.State.UNREADY:
        _save(
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
        _note_exit(row, status, was_good_until=failing_since)
    house.remove(row.name, grace_seconds=LOST_GRACE_SECONDS)
    return status


def _last_lines(house: Runtime, name: str, memory: Memory) -> tuple[str, ...]:
    lines = house.logs(name, since=datetime.fromtimestamp(memory.began_at, UTC))
    return tuple(line.text for line in deque(lines, maxlen=EVIDENCE_LINES))


def _noted(row: Instance) -> InstanceStatus:
    """How an instance ended that is not there any more."""
    return InstanceStatus(
        RuntimePhase.EXITED, code=row.code, reason=row.reason, evidence=tuple(row.evidence)
    )


def _look(row: Instance, late: _Late) -> None:
    """Keep the address of an older instance true, without starting it again."""
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase in (RuntimePhase.ABSENT, RuntimePhase.EXITED):
        if row.state in _STARTED:
            _save(row, state=Instance.State.EXITED, address="")
        return
    memory = _memory(row, status)
    if memory is not None and memory.was_ready:
        _follow(row, status, memory, late)


def _start_more(
    deployment: OnlineDeployment,
    revision: Revision,
    count: int,
    current: list[Instance],
    older: list[Instance],
    seen: Seen,
) -> None:
    serving = [row for row in older if row.state == Instance.State.HEALTHY]
    # Without anything that serves there is nothing to protect: start them all at once (facts 7.2).
    surge = max(1, int(SURGE_SHARE * count)) if serving else count
    unready = len(seen.starting) + len(seen.exited) + len(seen.unready)
    missing = sorted(set(range(count)) - {row.number for row in current})
    for number in missing[: max(0, surge - unready)]:
        row, _ = Instance.objects.get_or_create(
            deployment=deployment,
            revision=revision,
            number=number,
            defaults={"name": instance_name(revision, number)},
        )
        status = _ensure(row)
        if status.phase == RuntimePhase.EXITED:
            _note_exit(row, status)
            seen.exited.append((row, status))
            continue
        memory = _memory(row, status)
        if memory is not None and memory.is_ready:
            _note_healthy(row, status)
            seen.healthy.append(row)
        else:
            seen.starting.append(row)


def _retire_older(older: list[Instance], count: int, seen: Seen) -> None:
    """Drain as many older instances as healthy new ones have taken over from; the broken ones first."""
    surplus = len(older) + len(seen.healthy) - count
    for row in sorted(older, key=lambda row: row.state == Instance.State.HEALTHY):
        if surplus <= 0 or not seen.healthy:
            return
        _drain(row)
        surplus -= 1


def _register(deployment: OnlineDeployment, revision: Revision) -> None:
    healthy = deployment.instances.filter(state=Instance.State.HEALTHY)
    addresses = [row.address for row in healthy if row.address]
    is_taking_over = healthy.filter(revision=revision).exists()
    with transaction.atomic():
        if is_taking_over and _facts_changed(deployment, revision):
            publish.add_upstream(
                deployment.endpoint, deployment.name, upstream_facts(deployment, revision)
            )
        publish.set_addresses(deployment.endpoint, deployment.name, addresses)


def _facts_changed(deployment: OnlineDeployment, revision: Revision) -> bool:
    wanted = vars(upstream_facts(deployment, revision))
    upstreams = deployment.endpoint.upstreams.filter(deployment_name=deployment.name)
    return not upstreams.filter(**wanted).exists()


def _ensure(row: Instance) -> InstanceStatus:
    status = runtime_of(row.revision).ensure(instance_spec(row.revision, row.number))
    _open_span(row)
    return status


def _drain(row: Instance) -> None:
    """No new requests from now on; removed once those in flight had their time."""
    seconds = row.revision.request_timeout_ms / 1000 if row.state == Instance.State.HEALTHY else 0
    wait = min(seconds, REMOVE_GRACE_SECONDS) + DRAIN_SECONDS
    _save(
        row,
        state=Instance.State.DRAINING,
        remove_after=timezone.now() + timedelta(seconds=wait),
    )


def _finish_draining(row: Instance, seen: Seen) -> None:
    if row.remove_after is not None and row.remove_after > timezone.now():
        seen.draining += 1
        return
    runtime_of(row.revision).remove(row.name, grace_seconds=REMOVE_GRACE_SECONDS)
    _close_span(row)
    row.delete()


def _note_healthy(row: Instance, status: InstanceStatus) -> None:
    if row.state == Instance.State.HEALTHY and row.address == status.address:
        if row.doubted_at is not None:
            _save(row, doubted_at=None, reason="")
        return
    _save(
        row,
        state=Instance.State.HEALTHY,
        address=status.address,
        doubted_at=None,
        ready_at=timezone.now(),
        code="",
        reason="",
        evidence=[],
    )


def _note_exit(
    row: Instance, status: InstanceStatus, *, was_good_until: datetime | None = None
) -> None:
    """Remember why, and pause longer each time; an instance that served well for a minute starts at once."""
    until = was_good_until or timezone.now()
    was_good = row.ready_at is not None and until - row.ready_at > GOOD_AFTER
    restarts = 1 if was_good else row.restarts + 1
    pause = min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(restarts, 10)) if restarts > 1 else 0.0
    _save(
        row,
        state=Instance.State.EXITED,
        address="",
        doubted_at=None,
        restarts=restarts,
        start_after=timezone.now() + timedelta(seconds=pause),
        code=status.code,
        reason=status.reason,
        evidence=list(status.evidence),
    )


def _save(row: Instance, **changes: object) -> None:
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))


def _open_span(row: Instance) -> None:
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


def _close_span(row: Instance) -> None:
    InstanceSpan.objects.filter(instance_name=row.name, ended_at__isnull=True).update(
        ended_at=timezone.now()
    )
