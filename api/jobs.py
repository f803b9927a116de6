"""Jobs, and the history of their runs: the places where clients look for them. This version runs none yet."""

from __future__ import annotations

from typing import NoReturn, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.arm import ArmView, Json, parse_body, refusal_of_stranger
from api.audiences import DATA_PLANE
from api.batch_deployments import get_batch_deployment
from api.clouds import origin_of
from endpoints.batch import get_batch_endpoint
from endpoints.models import BatchEndpoint
from workspaces import access
from workspaces.errors import NotFound, UserError
from workspaces.models import User, Workspace

NO_JOBS: Json = {"value": [], "nextLink": None}


class Discovery(APIView):
    """Where the rest is, for the part of the SDK that asks; it sends no token."""

    authentication_classes = ()
    permission_classes = ()
    metadata_class = None

    def get(self, request: Request) -> Response:
        root = origin_of(request)
        return Response({"api": root, "history": root})


class JobList(ArmView):
    actions = {"GET": "jobs/read"}

    def get(self, request: Request) -> Response:
        return Response(NO_JOBS)


class JobDetail(ArmView):
    actions = {"GET": "jobs/read", "PUT": "jobs/write"}

    def get(self, request: Request, job: str) -> Response:
        _no_job(self.workspace, job)

    def put(self, request: Request, job: str) -> Response:
        self.body()
        raise UserError(
            f"Job '{job}' was not started: this version of Portico runs no jobs. Nothing was changed.",
            code="OperationNotSupported",
            target="job",
        )


class CancelJob(ArmView):
    actions = {"POST": "jobs/cancel/action"}

    def post(self, request: Request, job: str) -> Response:
        _no_job(self.workspace, job)


class JobsOfEndpoint(ArmView):
    """Of all deployments of a batch endpoint, or of one."""

    actions = {"GET": "batchEndpoints/read"}
    audiences = DATA_PLANE

    def get(self, request: Request, endpoint: str, deployment: str = "") -> Response:
        if deployment:
            get_batch_deployment(self.workspace, endpoint, deployment)
        else:
            get_batch_endpoint(self.workspace, endpoint)
        return Response(NO_JOBS)


class Run(ArmView):
    """A run of a job: itself, its details, or its children."""

    actions = {"GET": "experiments/runs/read"}

    def get(self, request: Request, run: str) -> Response:
        _no_job(self.workspace, run)


class RunData(ArmView):
    actions = {"POST": "experiments/runs/read"}

    def post(self, request: Request) -> Response:
        _no_job(self.workspace, str(self.body().get("runId", ""))[:200])


class BatchJobs(APIView):
    """What stands at a batch endpoint's `scoringUri`: it takes no job yet, and says so."""

    audiences = DATA_PLANE
    metadata_class = None

    def get(self, request: Request, endpoint: str) -> Response:
        open_endpoint(cast(User, request.user), endpoint, "batchEndpoints/read")
        return Response(NO_JOBS)

    def post(self, request: Request, endpoint: str) -> Response:
        found = open_endpoint(cast(User, request.user), endpoint, "batchEndpoints/jobs/write")
        parse_body(request._request)
        raise UserError(
            f"Batch endpoint '{found.name}' keeps its deployments, but this version of Portico cannot run their jobs "
            "yet. Nothing was started.",
            code="OperationNotSupported",
            target="endpoint",
        )


class BatchJob(APIView):
    """Where a job that was sent there is looked for."""

    audiences = DATA_PLANE
    metadata_class = None

    def get(self, request: Request, endpoint: str, job: str) -> Response:
        found = open_endpoint(cast(User, request.user), endpoint, "batchEndpoints/read")
        _no_job(found.workspace, job)


def open_endpoint(user: User, name: str, action: str) -> BatchEndpoint:
    """The endpoint, if the caller may do `action`; a stranger cannot tell whether there is one."""
    rows = BatchEndpoint.objects.select_related("workspace")
    found = rows.filter(name__iexact=name).first()
    if found is None and access.reaches_all(user):
        raise NotFound(f"There is no batch endpoint '{name}'.", target="endpoint")
    if found is None or access.role_of(user, found.workspace) is None:
        raise refusal_of_stranger(user, action, f"/batch/{name}")
    access.require(user, action, found.workspace)
    return found


def _no_job(workspace: Workspace, name: str) -> NoReturn:
    raise NotFound(f"There is no job '{name}' in workspace '{workspace.name}'.", target="job")
