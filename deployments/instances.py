"""Brings the instances of a deployment to what is wanted: starts, replaces, drains, counts what is held.

`converge` looks at rows and at the runtime, does what can be done now, and says what it saw. It never waits,
may be repeated, and may die at any line: the row comes before the process and goes after it.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from deployments.changes import upstream_facts
from deployments.installation import runtime_of, runtimes_in_use
from deployments.models import DebugSession, Instance, OnlineDeployment, Revision
from deployments.probes import Memory
from deployments.runtimes import KnowsRunning, Runtime, RuntimeAway
from deployments.runtimes import Phase as RuntimePhase
from deployments.staging import instance_name
from deployments.tending import (
    REMOVE_GRACE_SECONDS,
    STARTED,
    SURGE_SHARE,
    Late,
    Seen,
    close_span,
    ensure,
    in_flight,
    is_draining,
    look,
    memory_of,
    note_exit,
    note_healthy,
    save,
    tend,
    wish,
)
from endpoints.gateway import publish

logger = logging.getLogger(__name__)


def converge(deployment: OnlineDeployment, revision: Revision, *, count: int) -> Seen:
    """Take the next steps towards `count` instances of `revision`, older ones serving until then."""
    seen = Seen(wanted=count)
    rows = list(deployment.instances.select_related("revision"))
    ours = [row for row in rows if row.revision_id == revision.pk]
    current = [row for row in ours if not row.is_leaving and not is_draining(row)]
    leaving = [row for row in ours if row.is_leaving and not is_draining(row)]
    older = [row for row in rows if row.revision_id != revision.pk and not is_draining(row)]
    late = Late.among([*current, *leaving, *older], count)
    for row in current[count:]:
        _drain(row)
    for row in current[:count]:
        tend(row, seen, late)
    for row in [*leaving, *older]:
        look(row, late)
    missing = _free_numbers(ours, max(0, count - len(current)))
    _start_more(deployment, revision, missing, older, seen)
    _let_go(leaving, seen)
    _retire_older(older, count, seen)
    _register(deployment, revision)
    for row in deployment.instances.filter(state=Instance.State.DRAINING):
        _finish_draining(row, seen)
    seen.older = sum(not is_draining(row) for row in [*leaving, *older])
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
    late = Late.among(rows, deployment.instance_count)
    for row in rows:
        if row.restart_requested_at is not None or row.is_leaving:
            return True
        if row.state not in STARTED or row.revision_id != serving:
            if row.start_after <= now:
                return True
        elif wish(row, Memory.read(row.probes), late) != row.state or not running.is_as_told(row):
            return True
    return False


def remove_orphans() -> list[str]:
    """Remove what runs under our mark without a row; the names that were removed."""
    # Rows are read after the processes: an instance started meanwhile has its row already.
    removed = []
    for house in runtimes_in_use():
        running = list(house.owned())
        known = set(Instance.objects.filter(name__in=running).values_list("name", flat=True))
        known |= set(DebugSession.objects.filter(name__in=running).values_list("name", flat=True))
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
        close_span(row)
        Instance.objects.filter(pk=row.pk).exclude(state=Instance.State.DRAINING).update(
            state=Instance.State.STARTING, address="", ready_at=None, probes={}
        )
        publish.set_addresses(row.deployment.endpoint, row.deployment.name, [])


def _free_numbers(rows: list[Instance], count: int) -> list[int]:
    """The lowest ones; one that drains may be taken up again, unless somebody wants it replaced."""
    taken = {row.number for row in rows if row.is_leaving or not is_draining(row)}
    free = (number for number in itertools.count() if number not in taken)
    return list(itertools.islice(free, count))


def _start_more(
    deployment: OnlineDeployment,
    revision: Revision,
    missing: list[int],
    older: list[Instance],
    seen: Seen,
) -> None:
    serving = [row for row in older if row.state == Instance.State.HEALTHY]
    # Without anything that serves there is nothing to protect: start them all at once (facts 7.2).
    surge = max(1, int(SURGE_SHARE * seen.wanted)) if serving else seen.wanted
    unready = len(seen.starting) + len(seen.exited) + len(seen.unready)
    for number in missing[: max(0, surge - unready)]:
        row, _ = Instance.objects.get_or_create(
            deployment=deployment,
            revision=revision,
            number=number,
            defaults={"name": instance_name(revision, number)},
        )
        status = ensure(row)
        if status.phase == RuntimePhase.EXITED:
            note_exit(row, status)
            seen.exited.append((row, status))
            continue
        memory = memory_of(row, status)
        if memory is not None and memory.is_ready:
            note_healthy(row, status)
            seen.healthy.append(row)
        else:
            seen.starting.append(row)


def _let_go(leaving: list[Instance], seen: Seen) -> None:
    """Drain those that somebody wants replaced; the only one that serves goes on until a fresh one is ready."""
    for row in leaving:
        if seen.healthy or not row.is_healthy:
            _drain(row)


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


def _drain(row: Instance) -> None:
    """No new requests from now on; removed once those in flight had their time."""
    save(row, state=Instance.State.DRAINING, remove_after=timezone.now() + in_flight(row))


def _finish_draining(row: Instance, seen: Seen) -> None:
    if row.remove_after is not None and row.remove_after > timezone.now():
        seen.draining += 1
        return
    runtime_of(row.revision).remove(row.name, grace_seconds=REMOVE_GRACE_SECONDS)
    close_span(row)
    row.delete()
