"""What the worker does with a deployment: one step at a time, from what the rows say, never from memory.

`step` does one thing and says when to come back. It may run twice and may be killed at any line; its caller
holds the lease and writes the outcome.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from deployments import debugging, instances, phases, staging
from deployments.changes import delete_deployment
from deployments.environments.failures import BuildFailed
from deployments.environments.process import Cancelled
from deployments.failures import Failure, from_build, from_instance, from_user_error, never_ready
from deployments.installation import runtime_of
from deployments.models import (
    DebugSession,
    DeploymentState,
    Instance,
    OnlineDeployment,
    Operation,
    Phase,
    Revision,
)
from deployments.probes import Kind, Memory
from deployments.probing import rules_of
from deployments.runtimes import InstanceStatus
from deployments.runtimes.printable import printable
from deployments.runtimes.telling import LOOKED_AT, telling
from deployments.specs import check_script
from deployments.tending import Seen
from endpoints import changes as endpoint_changes
from endpoints.gateway import publish
from endpoints.models import EndpointState, OnlineEndpoint
from endpoints.traffic import set_traffic
from workspaces import storage
from workspaces.errors import UserError

logger = logging.getLogger(__name__)

SOON = 0.2
LATER = 1.0
CRASHES_TO_FAIL = 3
# A script that cannot be loaded will not load the next time either.
FINAL_CODES = {
    "UserScriptImportError",
    "UserScriptFunctionNotFound",
    "UserScriptInitFailed",
    "ModelLoadFailed",
    "OutOfMemory",
}
# What was refused before anything ran: no room, no image, an engine that is away.
NEVER_STARTED = {"OutOfCapacity", "ImageMissing", "BadArgument", "InternalServerError"}


@dataclass(frozen=True)
class Step:
    """The outcome of one step: a new state or None for the same, and when to look again or None for never."""

    to: str | None = None
    again_in_seconds: float | None = None
    changes: dict[str, Any] = field(default_factory=dict)


class PhaseFailed(Exception):
    """Ends the operation with a failure card."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


def step(deployment: OnlineDeployment, lost: threading.Event) -> Step:
    """Take the deployment one step further; `lost` is set when the lease was lost meanwhile."""
    if deployment.state == DeploymentState.DELETING:
        return _delete(deployment)
    if not deployment.is_busy:
        return _upkeep(deployment)
    operation = deployment.operations.filter(state=Operation.State.RUNNING).first()
    revision = deployment.revision
    if operation is None or revision is None:
        # Only a crash between the verbs' writes could do this, and they are one transaction.
        logger.error("deployment %s is %s without an operation", deployment.pk, deployment.state)
        return Step(DeploymentState.FAILED)
    try:
        if deployment.cancel_requested:
            raise PhaseFailed(
                Failure("OperationCanceled", _phase_now(operation), "The operation was canceled.")
            )
        return _provision(deployment, operation, revision, lost)
    except PhaseFailed as failed:
        return _fail(deployment, operation, revision, failed.failure)
    except BuildFailed as error:
        failure = from_build(error.failure, Phase.Name.BUILD_ENVIRONMENT)
        return _fail(deployment, operation, revision, failure)
    except UserError as error:
        return _fail(
            deployment, operation, revision, from_user_error(error, _phase_now(operation))
        )


def sweep() -> list[int]:
    """Everything whose time has come: ids of deployments to advance; also finishes endpoints and orphans."""
    _delete_of_endpoints()
    running = instances.Running()
    for deployment in _settled():
        if instances.needs_attention(deployment, running):
            OnlineDeployment.objects.filter(pk=deployment.pk, due_at__isnull=True).update(
                due_at=timezone.now()
            )
    instances.remove_orphans()
    return list(OnlineDeployment.objects.due().values_list("pk", flat=True))


def stop_all_instances() -> None:
    """For a clean stop of the whole installation; the next start runs them again."""
    debugging.stop_all()
    instances.stop_all()


def count_unserved() -> int:
    """Deployments that served, and whose rows name no instance that answers: those that a start brings up again."""
    served = OnlineDeployment.objects.filter(serving_revision__isnull=False, instance_count__gt=0)
    return (
        served.exclude(state=DeploymentState.DELETING)
        .exclude(instances__state=Instance.State.HEALTHY)
        .count()
    )


def _provision(
    deployment: OnlineDeployment, operation: Operation, revision: Revision, lost: threading.Event
) -> Step:
    done = set(operation.phases.filter(state=Phase.State.SUCCEEDED).values_list("name", flat=True))
    early: list[tuple[str, Callable[[], None]]] = [
        (Phase.Name.VALIDATE, lambda: _validate(revision)),
        (Phase.Name.FETCH_MODEL, lambda: _fetch(operation, revision)),
        (Phase.Name.BUILD_ENVIRONMENT, lambda: _build(operation, revision, lost)),
    ]
    for name, act in early:
        if name in done:
            continue
        is_build = name == Phase.Name.BUILD_ENVIRONMENT
        kind = staging.kind_of_build(revision) if is_build else ""
        phases.enter(operation, name, build_kind=kind)
        act()
        if lost.is_set():
            return Step(again_in_seconds=SOON)
    return _roll(deployment, operation, revision)


def _validate(revision: Revision) -> None:
    """What was right when it was wished for may have gone since."""
    for version in (revision.code_version, revision.model_version):
        if version is not None:
            storage.entries(version.content_hash)
    if revision.code_version is not None:
        check_script(revision.code_version, revision.scoring_script)


def _fetch(operation: Operation, revision: Revision) -> None:
    log = phases.RowLog(operation.phases.get(name=Phase.Name.FETCH_MODEL))
    try:
        staging.fetch(revision, log)
    finally:
        log.flush()


def _build(operation: Operation, revision: Revision, lost: threading.Event) -> None:
    phase = operation.phases.get(name=Phase.Name.BUILD_ENVIRONMENT)
    log = phases.RowLog(phase)

    def is_cancelled() -> bool:
        if lost.is_set():
            return True
        # Deleted meanwhile: what is built now nobody waits for.
        wanted = OnlineDeployment.objects.filter(
            pk=revision.deployment_id, cancel_requested=False
        ).exclude(state=DeploymentState.DELETING)
        return not wanted.exists()

    try:
        built = staging.build(revision, log, is_cancelled)
    except Cancelled:
        if lost.is_set():
            return
        raise PhaseFailed(
            Failure("OperationCanceled", phase.name, "The operation was canceled.")
        ) from None
    finally:
        log.flush()
    if built.was_cached:
        phases.note_found(phase)
    fresh = [*staging.environment_warnings(revision), *built.warnings]
    merged = [*revision.warnings, *(text for text in fresh if text not in revision.warnings)]
    if merged != revision.warnings:
        Revision.objects.filter(pk=revision.pk).update(warnings=merged)


def _roll(deployment: OnlineDeployment, operation: Operation, revision: Revision) -> Step:
    """Start what is wanted beside what serves, and hand over one by one."""
    serving = deployment.serving_revision
    if serving is not None and serving.pk != revision.pk and _scales_first(deployment, revision):
        phases.enter(operation, Phase.Name.START)
        seen = instances.converge(deployment, serving, count=deployment.instance_count)
        if not seen.is_settled and not seen.exited:
            return Step(again_in_seconds=SOON)
    if not operation.phases.filter(name=Phase.Name.LOAD_MODEL).exists():
        phases.enter(operation, Phase.Name.START)
    seen = instances.converge(deployment, revision, count=deployment.instance_count)
    for _, status in seen.exited:
        if status.code in FINAL_CODES:
            raise PhaseFailed(_ended(status))
    _fail_after_crashes(seen)
    _tell_of_retries(operation, seen)
    if _phase_now(operation) == Phase.Name.START and _is_refused(seen):
        return Step(again_in_seconds=SOON)
    if not seen.healthy:
        phase = phases.enter(
            operation, Phase.Name.LOAD_MODEL, deadline_seconds=_ready_seconds(revision)
        )
        _fail_after_deadline(phase, revision, seen)
        return Step(again_in_seconds=SOON)
    if len(seen.healthy) < seen.wanted:
        phase = phases.enter(
            operation, Phase.Name.PROBE, deadline_seconds=_ready_seconds(revision)
        )
        _fail_after_deadline(phase, revision, seen)
        return Step(again_in_seconds=SOON)
    phases.enter(operation, Phase.Name.REGISTER_ROUTE)
    if seen.older:
        return Step(again_in_seconds=SOON)
    _forget_older_files(deployment, keep=revision)
    if deployment.takes_traffic_when_ready:
        _take_traffic(deployment)
    phases.finish(operation, Operation.State.SUCCEEDED)
    return Step(
        DeploymentState.SUCCEEDED,
        again_in_seconds=LATER if seen.draining else None,
        changes={
            "serving_revision": revision,
            "failure": {},
            "takes_traffic_when_ready": False,
            "updated_at": timezone.now(),
        },
    )


def _take_traffic(deployment: OnlineDeployment) -> None:
    """All live traffic, as was wished when it was made; whoever set some meanwhile knows better."""
    endpoint = OnlineEndpoint.objects.get(pk=deployment.endpoint_id)
    if endpoint.traffic:
        return
    try:
        set_traffic(
            endpoint,
            {deployment.name: 100},
            by=deployment.created_by,
            based_on=endpoint.revision,
            note="Wished for when the deployment was created.",
        )
    except UserError as error:
        logger.info("deployment %s takes no traffic: %s", deployment.pk, error.message)


def _scales_first(deployment: OnlineDeployment, revision: Revision) -> bool:
    """Whether the count changed too and no instance of the new revision was started yet (facts 7.2)."""
    rows = deployment.instances.exclude(state=Instance.State.DRAINING)
    return (
        not rows.filter(revision=revision).exists() and rows.count() != deployment.instance_count
    )


def _fail_after_crashes(seen: Seen) -> None:
    for row, status in seen.exited:
        if row.restarts >= CRASHES_TO_FAIL:
            raise PhaseFailed(_ended(status))


def _ended(status: InstanceStatus) -> Failure:
    """The card of an instance that ended, or that could not even be placed."""
    is_refused = status.code in NEVER_STARTED
    return from_instance(status, Phase.Name.START if is_refused else Phase.Name.LOAD_MODEL)


def _is_refused(seen: Seen) -> bool:
    return any(status.code in NEVER_STARTED for _, status in seen.exited)


def _tell_of_retries(operation: Operation, seen: Seen) -> None:
    """In the log of the phase that runs: what ended is tried again, and how often that is done."""
    phase = operation.phases.filter(state=Phase.State.RUNNING).last()
    for row, status in seen.exited:
        cause = printable(_ended(status).cause)
        line = f"{row.name}: {cause} Attempt {row.restarts + 1} of {CRASHES_TO_FAIL} follows."
        if phase is not None and line not in phase.log:
            phases.RowLog(phase)(line)


def _fail_after_deadline(phase: Phase, revision: Revision, seen: Seen) -> None:
    if phase.deadline_at is None or phase.deadline_at > timezone.now():
        return
    evidence: tuple[str, ...] = ()
    found = ""
    for row in seen.starting[:1]:
        since = timezone.now() - timedelta(hours=1)
        lines = deque(runtime_of(revision).logs(row.name, since=since), maxlen=LOOKED_AT)
        evidence = telling([line.text for line in lines])
        memory = Memory.read(row.probes)
        found = memory.why(Kind.READINESS) or memory.why(Kind.STARTUP) if memory else ""
    seconds = (timezone.now() - phase.started_at).total_seconds()
    attempts = rules_of(revision).readiness.failure_threshold
    is_custom = staging.is_custom(revision)
    raise PhaseFailed(never_ready(attempts, seconds, evidence, found, is_custom=is_custom))


def _ready_seconds(revision: Revision) -> float:
    """How long an instance may take to become ready: Azure's readiness probe, attempt by attempt."""
    return rules_of(revision).ready_seconds


def _fail(
    deployment: OnlineDeployment, operation: Operation, revision: Revision, failure: Failure
) -> Step:
    """End the operation; what served before goes on serving."""
    card = failure.as_dict()
    if revision.pk != deployment.serving_revision_id:
        instances.drain_revision(deployment, revision)
    canceled = failure.code == "OperationCanceled"
    state = Operation.State.CANCELED if canceled else Operation.State.FAILED
    phases.finish(operation, state, card)
    logger.info("deployment %s failed: %s", deployment.pk, failure.code)
    return Step(
        DeploymentState.FAILED,
        again_in_seconds=LATER,
        changes={"failure": card, "cancel_requested": False, "updated_at": timezone.now()},
    )


def _upkeep(deployment: OnlineDeployment) -> Step:
    """Keep what serves alive, and finish what is draining."""
    serving = deployment.serving_revision
    if serving is None:
        left = instances.drain_all(deployment)
        return Step(again_in_seconds=LATER if left else None)
    staging.fetch(serving)
    seen = instances.converge(deployment, serving, count=deployment.instance_count)
    return Step(again_in_seconds=None if seen.is_settled else LATER)


def _delete(deployment: OnlineDeployment) -> Step:
    operation = deployment.operations.filter(state=Operation.State.RUNNING).first()
    if operation is not None:
        phases.enter(operation, Phase.Name.REMOVE)
    debugging.end_of(deployment)
    if instances.drain_all(deployment):
        return Step(again_in_seconds=SOON)
    publish.remove_upstream(deployment.endpoint, deployment.name)
    staging.forget(deployment)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(revision=None, serving_revision=None)
    deployment.delete()
    return Step()


def _delete_of_endpoints() -> None:
    """An endpoint that is being deleted takes its deployments along, and ends when the last is gone."""
    for endpoint in OnlineEndpoint.objects.filter(state=EndpointState.DELETING):
        left = list(endpoint.deployments.all())
        for deployment in left:
            if deployment.state != DeploymentState.DELETING:
                delete_deployment(deployment, by=None)
        if not left:
            endpoint_changes.finish_delete(endpoint)


def _settled() -> list[OnlineDeployment]:
    rows = OnlineDeployment.objects.filter(
        state__in=[DeploymentState.SUCCEEDED, DeploymentState.FAILED],
        serving_revision__isnull=False,
        due_at__isnull=True,
    )
    return list(rows.prefetch_related("instances__revision"))


def _forget_older_files(deployment: OnlineDeployment, *, keep: Revision) -> None:
    debugged = DebugSession.objects.filter(deployment=deployment)
    in_use = {
        keep.pk,
        *deployment.instances.values_list("revision_id", flat=True),
        *debugged.values_list("revision_id", flat=True),
    }
    for revision in deployment.revisions.exclude(pk__in=in_use):
        staging.forget(deployment, revision)


def _phase_now(operation: Operation) -> str:
    running = operation.phases.filter(state=Phase.State.RUNNING).values_list("name", flat=True)
    return running.first() or str(Phase.Name.VALIDATE)
