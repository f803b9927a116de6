"""Debug sessions of online deployments: our own address, which Azure does not have."""

from __future__ import annotations

from datetime import timedelta

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, instant
from api.bodies import Body
from api.online_deployments import WRITE, find_deployment
from deployments import debugging
from deployments.models import DebugSession

MINUTES = 60


class DebugSessionItem(ArmView):
    # Whoever can attach can run code: readers do not even learn where.
    actions = {"GET": WRITE, "PUT": WRITE, "DELETE": WRITE}

    def get(self, request: Request, endpoint: str, deployment: str) -> Response:
        return Response(
            present(debugging.find(find_deployment(self.workspace, endpoint, deployment)))
        )

    def put(self, request: Request, endpoint: str, deployment: str) -> Response:
        """Start it, or give the one that is there more time."""
        found = find_deployment(self.workspace, endpoint, deployment)
        body = Body(self.body())
        minutes = body.whole("minutes", MINUTES)
        body.finish()
        session = debugging.start(found, by=self.caller, lasts=timedelta(minutes=minutes))
        return Response(present(session), status=202)

    def delete(self, request: Request, endpoint: str, deployment: str) -> Response:
        """That there is none is success."""
        debugging.stop(find_deployment(self.workspace, endpoint, deployment), by=self.caller)
        return Response(status=204)


def present(session: DebugSession) -> Json:
    """What is not known yet is left out."""
    told: Json = {
        "state": session.state,
        "revision": session.revision.number,
        "deploymentHeader": session.upstream_name,
        "createdAt": instant(session.created_at),
        "expiresAt": instant(session.expires_at),
    }
    if session.created_by is not None:
        told["createdBy"] = session.created_by.username
    if session.reason:
        told["error"] = {"code": session.code, "message": session.reason}
    if session.state == DebugSession.State.RUNNING:
        told["tunnel"] = debugging.tunnel(session)
        told["launch"] = debugging.launch_entry(session)
    return told
