"""Brings the instances of a deployment to what is wanted: starts, replaces, drains, counts what is held.

`converge` looks at rows and at the runtime, does what can be done now, and says what it saw. It never waits,
may be repeated, and may die at any line: the row comes before the process and goes after it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from deployments.changes import upstream_facts
from deployments.installation import runtime_of, runtimes_in_use
from deployments.models import Instance, InstanceSpan, OnlineDeployment, Revision
from deployments.runtimes import InstanceStatus
from deployments.runtimes import Phase as RuntimePhase
from deployments.staging import instance_name, instance_spec
from endpoints.gateway import publish

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 3
REMOVE_GRACE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 60.0
# A machine that is short of processor time answers probes late; taking the instance away would be worse.
DOUBT_SECONDS = 30
SURGE_SHARE = 0.2


@dataclass
class Seen:
    """What one look at a revision's instances found."""

    wanted: int
    starting: list[Instance] = field(default_factory=list)
    healthy: list[Instance] = field(default_factory=list)
    exited: list[tuple[Instance, InstanceStatus]] = field(default_factory=list)
    older: int = 0
    """Instances of other revisions that still serve."""
    draining: int = 0

    @property
    def is_settled(self) -> bool:
        """All wanted instances answer and nothing else is left."""
        return len(self.healthy) == self.wanted and not self.older and not self.draining


def converge(deployment: OnlineDeployment, revision: Revision, *, count: int) -> Seen:
    """Take the next steps towards `count` instances of `revision`, older ones serving until then."""
    seen = Seen(wanted=count)
    rows = list(deployment.instances.select_related("revision"))
    current = [row for row in rows if row.revision_id == revision.pk and not _is_draining(row)]
    older = [row for row in rows if row.revision_id != revision.pk and not _is_draining(row)]
    for row in current:
        if row.number >= count:
            _drain(row)
        else:
            _tend(row, seen)
    for row in older:
        _look(row)
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


def needs_attention(deployment: OnlineDeployment) -> bool:
    """Whether what runs differs from what the rows say; cheap, changes nothing."""
    rows = list(deployment.instances.all())
    serving = deployment.serving_revision_id
    if sum(row.revision_id == serving for row in rows) != deployment.instance_count:
        return True
    now = timezone.now()
    for row in rows:
        if row.state != Instance.State.HEALTHY or row.revision_id != serving:
            return row.start_after <= now
        status = runtime_of(row.revision).inspect(row.name)
        if status.phase != RuntimePhase.HEALTHY or status.address != row.address:
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
            state=Instance.State.STARTING, address="", ready_at=None
        )
        publish.set_addresses(row.deployment.endpoint, row.deployment.name, [])


def _is_draining(row: Instance) -> bool:
    return row.state == Instance.State.DRAINING


def _tend(row: Instance, seen: Seen) -> None:
    """Look at one wanted instance; start it when it should run and does not."""
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase == RuntimePhase.ABSENT:
        status = _ensure(row)
        _save(row, state=Instance.State.STARTING, address="", doubted_at=None)
    elif status.phase == RuntimePhase.EXITED:
        if row.state != Instance.State.EXITED:
            _note_exit(row, status)
        if row.start_after <= timezone.now():
            restarted = _ensure(row)
            if restarted.phase != RuntimePhase.EXITED:
                status = restarted
                _save(row, state=Instance.State.STARTING, address="")
            else:
                _note_exit(row, restarted)
    if status.phase == RuntimePhase.HEALTHY:
        _note_healthy(row, status)
        seen.healthy.append(row)
    elif status.phase == RuntimePhase.EXITED:
        seen.exited.append((row, status))
    elif row.state == Instance.State.HEALTHY and _is_given_time(row):
        seen.healthy.append(row)
    else:
        if row.state == Instance.State.HEALTHY:
            _save(row, state=Instance.State.STARTING, address="", doubted_at=None)
        seen.starting.append(row)


def _is_given_time(row: Instance) -> bool:
    """Whether an instance that runs but does not answer its probe stays in the routes for now."""
    now = timezone.now()
    if row.doubted_at is None:
        _save(row, doubted_at=now)
    assert row.doubted_at is not None
    return now - row.doubted_at < timedelta(seconds=DOUBT_SECONDS)


def _look(row: Instance) -> None:
    """Keep the address of an older instance true, without starting it again."""
    status = runtime_of(row.revision).inspect(row.name)
    if status.phase == RuntimePhase.HEALTHY:
        _note_healthy(row, status)
    elif row.state == Instance.State.HEALTHY and (
        status.phase != RuntimePhase.STARTING or not _is_given_time(row)
    ):
        _save(row, state=Instance.State.EXITED, address="")


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
    unready = len(seen.starting) + len(seen.exited)
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
        elif status.phase == RuntimePhase.HEALTHY:
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
            _save(row, doubted_at=None)
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


def _note_exit(row: Instance, status: InstanceStatus) -> None:
    """Remember why, and pause longer each time; an instance that served well for a minute starts at once."""
    was_good = row.ready_at is not None and timezone.now() - row.ready_at > timedelta(minutes=1)
    restarts = 1 if was_good else row.restarts + 1
    pause = min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(restarts, 10)) if restarts > 1 else 0.0
    _save(
        row,
        state=Instance.State.EXITED,
        address="",
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
