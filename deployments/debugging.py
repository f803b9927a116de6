"""Debug sessions of hosted deployments: one more instance of what serves, reached by its name alone, for some time.

`start` and `stop` are verbs; `step` is what the worker does, one look at a time: it may run twice and be killed.
"""

from __future__ import annotations

import logging
import math
import socket
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

from django.db import transaction
from django.utils import timezone

from deployments import staging
from deployments.changes import reserved_cores, upstream_facts
from deployments.doorbell import ring_sweep
from deployments.environments import BuildFailed
from deployments.installation import engines_of, runtime_of
from deployments.models import DebugSession, DeploymentState, OnlineDeployment, Revision
from deployments.runtimes import InstanceSpec, InstanceStatus, Phase
from deployments.runtimes.commands import APP_ROOT
from deployments.tending import close_span, open_span
from endpoints.gateway import publish
from workspaces import quota
from workspaces.activity import record
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import User, Workspace

logger = logging.getLogger(__name__)

USUAL, LONGEST = timedelta(hours=1), timedelta(hours=8)
PORT_INSIDE = 5678
HERE = "127.0.0.1"
SOON_SECONDS, LATER_SECONDS = 0.5, 5.0
GRACE_SECONDS = 3
OURS = "InternalServerError"
State = DebugSession.State


@dataclass(frozen=True)
class Place:
    """Where a debugger's port is, as seen from this machine."""

    host: str
    port: int


def start(
    deployment: OnlineDeployment, *, by: User | None, lasts: timedelta = USUAL
) -> DebugSession:
    """Want one more instance that a debugger can attach to; one that is there gets this time from now on.

    `UserError` for what cannot be debugged, `Conflict` while nothing serves.
    """
    if not timedelta(minutes=1) <= lasts <= LONGEST:
        raise UserError(
            f"A debug session of {lasts.total_seconds() / 60:g} minutes cannot be. It lasts from one minute to "
            "eight hours (480 minutes).",
            target="minutes",
        )
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=deployment.endpoint.workspace_id)
        locked = OnlineDeployment.objects.select_for_update().filter(pk=deployment.pk).first()
        revision = _debuggable(deployment, locked)
        expires_at = timezone.now() + lasts
        session = DebugSession.objects.select_for_update().filter(deployment=deployment).first()
        if session is None:
            session = _new(revision, by=by, expires_at=expires_at)
        elif session.state == State.STOPPING:
            raise Conflict(
                "The last debug session is being removed. Try again in a moment.", target="state"
            )
        elif session.state == State.FAILED:
            session.move(State.STARTING, expires_at=expires_at, code="", reason="", evidence=[])
        else:
            session.expires_at = expires_at
            session.save(update_fields=["expires_at"])
        _record(deployment, "start debug session", by=by)
        ring_sweep()
    return session


def stop(deployment: OnlineDeployment, *, by: User | None) -> None:
    """Want it gone; that there is none is success."""
    with transaction.atomic():
        session = DebugSession.objects.select_for_update().filter(deployment=deployment).first()
        if session is None or session.state == State.STOPPING:
            return
        session.move(State.STOPPING)
        _record(deployment, "stop debug session", by=by)
        ring_sweep()


def refusal(deployment: OnlineDeployment) -> str:
    """Why `start` would refuse, as far as it can be known before; empty if it would not."""
    try:
        _debuggable(deployment, deployment)
    except UserError as error:
        return error.message
    return ""


def find(deployment: OnlineDeployment) -> DebugSession:
    """`NotFound` when there is none."""
    session = DebugSession.objects.filter(deployment=deployment).first()
    if session is None:
        raise NotFound(f"Deployment '{deployment.name}' has no debug session.", target="debug")
    return session


def place_of(deployment: OnlineDeployment) -> Place:
    """`NotFound` without a session, `Conflict` for one to which no debugger can attach yet, or any more."""
    session = find(deployment)
    if session.state not in (State.STARTING, State.RUNNING) or not session.address:
        raise Conflict(f"The debug session is {session.state}. Nothing waits for a debugger.")
    return Place(session.debug_host, session.debug_port)


def launch_entry(session: DebugSession) -> dict[str, Any]:
    """For launch.json of VS Code, opened on the code folder, once the port is here (`tunnel`)."""
    inside: PurePath = staging.folder_of(session.deployment, session.revision) / "code"
    if staging.runs_as_container(session.revision):
        inside = APP_ROOT / "code"
    return {
        "name": f"Portico: {session.deployment.endpoint.name}/{session.deployment.name}",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": HERE, "port": PORT_INSIDE},
        "pathMappings": [{"localRoot": "${workspaceFolder}", "remoteRoot": str(inside)}],
        "justMyCode": True,
    }


def tunnel(session: DebugSession) -> str:
    """What brings the debugger's port to the user's own machine; it is never open to a network."""
    return f"ssh -N -L {PORT_INSIDE}:{session.debug_host}:{session.debug_port} <you>@<the portal's machine>"


def step(session: DebugSession) -> tuple[str | None, float | None]:
    """Do what is next; the new state, and in how many seconds to come back (None: the session is gone)."""
    deployment = session.deployment
    is_over = session.expires_at <= timezone.now()
    is_going = deployment.state == DeploymentState.DELETING or not deployment.serving_revision_id
    if session.state == State.STOPPING or is_over or is_going:
        end(session)
        return None, None
    left = (session.expires_at - timezone.now()).total_seconds()
    if session.state == State.FAILED:
        return None, left
    staging.fetch(session.revision)
    house = runtime_of(session.revision)
    status = house.inspect(session.name)
    if status.phase == Phase.ABSENT:
        try:
            spec = _spec(session)
        except BuildFailed as error:
            failure = error.failure
            _save(
                session,
                code=failure.code,
                reason=failure.sentence,
                evidence=list(failure.evidence),
                address="",
            )
            return State.FAILED, left
        status = house.ensure(spec)
        open_span(session)
        if status.phase == Phase.EXITED and status.code == OURS:
            # An engine that is away or overloaded for a moment is no fault of the script.
            _save(session, code=status.code, reason=status.reason, evidence=[], address="")
            return State.STARTING, LATER_SECONDS
    if status.phase == Phase.EXITED:
        _leave_routes(session)
        house.remove(session.name)
        close_span(session)
        _save(
            session,
            code=status.code,
            reason=status.reason,
            evidence=list(status.evidence),
            address="",
        )
        return State.FAILED, left
    if status.phase != Phase.HEALTHY:
        return State.STARTING, SOON_SECONDS
    _enter_routes(session, status)
    return State.RUNNING, min(LATER_SECONDS, left)


def end(session: DebugSession) -> None:
    """Remove the instance, its route and the session; may be repeated."""
    _leave_routes(session)
    runtime_of(session.revision).remove(session.name, grace_seconds=GRACE_SECONDS)
    close_span(session)
    session.delete()


def end_of(deployment: OnlineDeployment) -> None:
    """Before the deployment itself goes."""
    session = DebugSession.objects.filter(deployment=deployment).first()
    if session is not None:
        end(session)


def stop_all() -> None:
    """End what runs for a clean stop of the installation; the rows stay, and the next start runs them again."""
    for session in DebugSession.objects.select_related("deployment__endpoint", "revision"):
        runtime_of(session.revision).remove(session.name, grace_seconds=GRACE_SECONDS)
        close_span(session)
        publish.set_addresses(session.deployment.endpoint, session.upstream_name, [])


def _debuggable(deployment: OnlineDeployment, locked: OnlineDeployment | None) -> Revision:
    revision = locked.serving_revision if locked is not None else None
    if locked is None or revision is None or locked.state == DeploymentState.DELETING:
        raise Conflict(
            f"Deployment '{deployment.name}' has nothing that serves, so there is nothing to debug. Wait until it has "
            "Succeeded, or debug it locally: portico ml online-deployment create --local --vscode-debug.",
            target="state",
        )
    if revision.code_version is None:
        raise UserError(
            f"Deployment '{locked.name}' has no scoring script, so there is nothing to debug.",
            target="code_configuration",
        )
    if "AZUREML_DEBUG_PORT" in revision.environment_variables:
        raise UserError(
            "The deployment's AZUREML_DEBUG_PORT connects to a debugger already. Remove the variable first.",
            target="environment_variables",
        )
    if staging.runs_as_container(revision) and not all(
        each.is_local for each in engines_of(revision)
    ):
        raise UserError(
            "Containers run on another machine, and a debugger's port is never opened to a network. Debug the "
            "deployment locally: portico ml online-deployment create --local --vscode-debug.",
            target="debug",
        )
    return revision


def _new(revision: Revision, *, by: User | None, expires_at: datetime) -> DebugSession:
    deployment = revision.deployment
    workspace = deployment.endpoint.workspace
    used = reserved_cores(OnlineDeployment.objects.filter(endpoint__workspace=workspace))
    cores = math.ceil(revision.instance_type.cores)
    quota.check(workspace, "cores", used=used, wanted=cores, target="debug")
    is_container = staging.runs_as_container(revision)
    return DebugSession.objects.create(
        deployment=deployment,
        revision=revision,
        name=staging.instance_name(revision, "debug"),
        state=State.STARTING,
        due_at=timezone.now(),
        expires_at=expires_at,
        debug_host="" if is_container else HERE,
        debug_port=PORT_INSIDE if is_container else _free_port(),
        created_by=by,
    )


def _spec(session: DebugSession) -> InstanceSpec:
    """That of an instance of the revision, but with a debugger's port and without limits of time."""
    spec = staging.instance_spec(session.revision, 0)
    # A container has its own addresses; on the machine itself nobody else's must be opened.
    host = "0.0.0.0" if staging.runs_as_container(session.revision) else HERE
    listens = f"{host}:{session.debug_port}"
    return replace(
        spec,
        name=session.name,
        environment_variables={**spec.environment_variables, "PORTICO_DEBUG_LISTEN": listens},
        worker_count=1,
        request_timeout_ms=0,
        max_queue_wait_ms=0,
    )


def _enter_routes(session: DebugSession, status: InstanceStatus) -> None:
    endpoint = session.deployment.endpoint
    is_container = staging.runs_as_container(session.revision)
    # A container that was made anew may have another address.
    host = status.address.rpartition(":")[0] if is_container else HERE
    # First the row: for a session that somebody else has ended meanwhile this fails, and makes no route.
    _save(session, address=status.address, debug_host=host, code="", reason="", evidence=[])
    with transaction.atomic():
        if session.state != State.RUNNING:
            facts = replace(
                upstream_facts(session.deployment, session.revision),
                instance_count=1,
                request_timeout_ms=int(LONGEST.total_seconds() * 1000),
            )
            publish.add_upstream(endpoint, session.upstream_name, facts)
        publish.set_addresses(endpoint, session.upstream_name, [status.address])


def _leave_routes(session: DebugSession) -> None:
    publish.remove_upstream(session.deployment.endpoint, session.upstream_name)


def _save(session: DebugSession, **changes: object) -> None:
    for name, value in changes.items():
        setattr(session, name, value)
    session.save(update_fields=list(changes))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
    return port


def _record(deployment: OnlineDeployment, verb: str, *, by: User | None) -> None:
    record(
        deployment.endpoint.workspace,
        verb,
        deployment,
        by=by,
        endpoint_name=deployment.endpoint.name,
    )
