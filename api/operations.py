"""Long-running operations: what the answer to a write promises, and where its outcome is polled (wire 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.signing import BadSignature, Signer
from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, instant
from deployments.fixes import fixes_of, in_words
from deployments.models import OnlineDeployment, Operation, Phase
from endpoints.models import EndpointState, OnlineEndpoint
from workspaces.errors import NotFound
from workspaces.models import Workspace

# Without this header the SDK waits 30 seconds between two looks.
RETRY_AFTER = {"Retry-After": "1"}
IN_PROGRESS, SUCCEEDED, FAILED, CANCELED = "InProgress", "Succeeded", "Failed", "Canceled"
STATES = {
    Operation.State.RUNNING: IN_PROGRESS,
    Operation.State.SUCCEEDED: SUCCEEDED,
    Operation.State.FAILED: FAILED,
    Operation.State.CANCELED: CANCELED,
}
# What is complete when its write or its deletion is answered.
AT_ONCE = frozenset({"compute", "batch_endpoint", "batch_deployment"})
ENDPOINT_STATES = {
    EndpointState.CREATING: IN_PROGRESS,
    EndpointState.UPDATING: IN_PROGRESS,
    EndpointState.FAILED: FAILED,
}


@dataclass(frozen=True)
class Ticket:
    """What to look up when the operation is polled; travels, signed, as the operation's id."""

    subject: str
    """`endpoint`, `deployment`, or one of `AT_ONCE`."""
    is_delete: bool
    pk: int
    """Of what it names."""
    operation_pk: int = 0

    def sealed(self, workspace: Workspace) -> str:
        verb = "delete" if self.is_delete else "write"
        return _signer(workspace).sign(f"{self.subject}.{verb}.{self.pk}.{self.operation_pk}")

    @classmethod
    def opened(cls, workspace: Workspace, text: str) -> Ticket:
        """`NotFound` for an id that was not given out for this workspace."""
        try:
            subject, verb, pk, operation_pk = _signer(workspace).unsign(text).split(".")
        except BadSignature:
            raise NotFound(
                "There is no such operation in this workspace.", target="operation"
            ) from None
        return cls(subject, verb == "delete", int(pk), int(operation_pk))


class OperationStatus(ArmView):
    actions = {"GET": "read"}

    def get(self, request: Request, operation: str) -> Response:
        ticket = Ticket.opened(self.workspace, operation)
        found = status_of(self.workspace, ticket)
        answer = {"id": path_of(self.workspace, operation), "name": operation, **found}
        is_over = found["status"] != IN_PROGRESS
        return Response(answer, headers={} if is_over else RETRY_AFTER)


def started(
    request: Request,
    workspace: Workspace,
    ticket: Ticket,
    body: Json | None,
    *,
    status: int,
    tells_address: bool = True,
) -> Response:
    """The answer to a write: the resource as it is now, and where to ask whether it has ended.

    The address also stands in the body, where Azure's own REST tutorial reads it, unless that is not to be.
    """
    path = path_of(workspace, ticket.sealed(workspace))
    version = request.query_params.get("api-version")
    url = request.build_absolute_uri(path)
    if version:
        url = f"{url}?{urlencode({'api-version': version})}"
    if body is not None and tells_address:
        body["properties"]["properties"] |= {"AzureAsyncOperationUri": url}
    return Response(body, status=status, headers={"Azure-AsyncOperation": url, **RETRY_AFTER})


def write_of(deployment: OnlineDeployment) -> Ticket:
    operation = deployment.current_operation()
    return Ticket("deployment", False, deployment.pk, operation.pk if operation else 0)


def path_of(workspace: Workspace, operation: str) -> str:
    return f"{workspace.arm_id}/operations/{operation}"


def status_of(workspace: Workspace, ticket: Ticket) -> Json:
    """`status`, and what is known of times and of the failure."""
    if ticket.subject in AT_ONCE:
        return {"status": SUCCEEDED}
    if ticket.is_delete:
        return {"status": _status_of_delete(workspace, ticket)}
    if ticket.subject == "endpoint":
        endpoint = OnlineEndpoint.objects.filter(workspace=workspace, pk=ticket.pk).first()
        # An endpoint is complete when its write is answered; that it was deleted since changes nothing.
        state = EndpointState(endpoint.state) if endpoint else EndpointState.SUCCEEDED
        return {"status": ENDPOINT_STATES.get(state, SUCCEEDED)}
    operation = _operation(workspace, ticket)
    return present_operation(operation) if operation else {"status": CANCELED, "error": _gone()}


def present_operation(operation: Operation) -> Json:
    told: Json = {
        "status": _state_of(operation),
        "startTime": instant(operation.started_at),
        "properties": {"phases": [present_phase(phase) for phase in operation.phases.all()]},
    }
    if told["status"] != IN_PROGRESS and operation.ended_at is not None:
        told["endTime"] = instant(operation.ended_at)
    if told["status"] == FAILED:
        told["error"] = present_failure(operation.failure, operation.deployment)
    elif told["status"] == CANCELED:
        told["error"] = {
            "code": "OperationCanceled",
            "message": "The operation was canceled by a later one or by a user.",
        }
    return told


def present_phase(phase: Phase) -> Json:
    """How far it is, for those who wait in a terminal."""
    told: Json = {
        "name": phase.name,
        "state": phase.state,
        "startTime": instant(phase.started_at),
    }
    if phase.ended_at is not None:
        told["endTime"] = instant(phase.ended_at)
    if phase.expected_seconds is not None:
        told["expectedSeconds"] = phase.expected_seconds
    return told


def present_failure(failure: dict[str, Any], deployment: OnlineDeployment | None = None) -> Json:
    """The failure card as Azure's error: phase, evidence and the ways out are its details."""
    code = failure.get("code", "InternalServerError")
    details = []
    if failure.get("phase"):
        details.append({"code": "Phase", "message": failure["phase"]})
    if failure.get("evidence"):
        details.append({"code": "Evidence", "message": "\n".join(failure["evidence"])})
    details += [
        {"code": "Fix", "message": in_words(fix, deployment)}
        for fix in fixes_of(failure, deployment)
    ]
    return {
        "code": code,
        "message": failure.get("cause", "The operation failed."),
        "details": details,
    }


def _status_of_delete(workspace: Workspace, ticket: Ticket) -> str:
    is_here = (
        OnlineEndpoint.objects.filter(workspace=workspace, pk=ticket.pk)
        if ticket.subject == "endpoint"
        else OnlineDeployment.objects.filter(endpoint__workspace=workspace, pk=ticket.pk)
    )
    return IN_PROGRESS if is_here.exists() else SUCCEEDED


def _state_of(operation: Operation) -> str:
    """The deployment follows its operation a moment later; until then the operation is not over.

    Otherwise who is told `Succeeded` would read a deployment that is still being created.
    """
    deployment = operation.deployment
    if (
        deployment.is_busy
        and not deployment.operations.filter(state=Operation.State.RUNNING).exists()
    ):
        return IN_PROGRESS
    return STATES[Operation.State(operation.state)]


def _operation(workspace: Workspace, ticket: Ticket) -> Operation | None:
    here = Q(deployment__endpoint__workspace=workspace, deployment=ticket.pk)
    rows = Operation.objects.filter(here, pk=ticket.operation_pk)
    return rows.select_related("deployment").first()


def _gone() -> Json:
    return {"code": "OperationCanceled", "message": "The deployment was deleted meanwhile."}


def _signer(workspace: Workspace) -> Signer:
    return Signer(salt=f"api.operations.{workspace.pk}")
