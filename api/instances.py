"""What runs of an online deployment, and the logs of its builds: our own addresses, which Azure does not have."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, instant
from api.bodies import Body
from api.online_deployments import READ, WRITE, find_deployment
from api.operations import present_failure
from deployments.models import Instance, Phase
from deployments.phases import builds_of
from deployments.replacing import drain_instance, find_instance, restart_instance
from monitoring.usage import Latest, latest_usage
from workspaces.errors import NotFound, UserError

LINES = 5000


class InstanceList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, endpoint: str, deployment: str) -> Response:
        """All of them: a deployment has few."""
        found = find_deployment(self.workspace, endpoint, deployment)
        rows = found.instances.select_related("revision__instance_type", "revision__compute")
        usage = latest_usage(found)
        return Response({"value": [present(row, usage.get(row.name)) for row in rows]})


class RestartInstance(ArmView):
    actions = {"POST": WRITE}

    def post(self, request: Request, endpoint: str, deployment: str, instance: str) -> Response:
        found = find_deployment(self.workspace, endpoint, deployment)
        restart_instance(found, instance, by=self.caller)
        return Response(present(find_instance(found, instance)), status=202)


class DrainInstance(ArmView):
    actions = {"POST": WRITE}

    def post(self, request: Request, endpoint: str, deployment: str, instance: str) -> Response:
        found = find_deployment(self.workspace, endpoint, deployment)
        drain_instance(found, instance, by=self.caller)
        return Response(present(find_instance(found, instance)), status=202)


class GetBuildLog(ArmView):
    actions = {"POST": "onlineEndpoints/deployments/getLogs/action"}

    def post(self, request: Request, endpoint: str, deployment: str) -> Response:
        """Of the newest build, or of the newest one of the revision that the body names; also while it runs."""
        found = find_deployment(self.workspace, endpoint, deployment)
        body = Body(self.body())
        number = body.whole("revision", 0)
        tail = body.whole("tail", LINES)
        body.finish()
        if tail < 1:
            raise UserError(f"tail is {tail}. It must be at least 1.", target="tail")
        builds = list(builds_of(found))
        revisions = list(dict.fromkeys(build.operation.revision_number for build in builds))
        wanted = [build for build in builds if number in (0, build.operation.revision_number)]
        if not wanted:
            there = ", ".join(map(str, revisions)) or "none yet"
            raise NotFound(
                f"Deployment '{found.name}' has no build {f'of revision {number}' if number else ''}; there are builds "
                f"of revision {there}.",
                target="revision",
            )
        return Response(
            {
                **present_build(wanted[0]),
                "revisions": revisions,
                "content": "\n".join(wanted[0].log.splitlines()[-tail:]),
            }
        )


def present(row: Instance, usage: Latest | None = None) -> Json:
    """What is not known is left out."""
    told: Json = {
        "name": row.name,
        "number": row.number,
        "revision": row.revision.number,
        "state": row.state,
        "runtime": row.revision.runtime,
        "instanceType": row.revision.instance_type.name,
        "restarts": row.restarts,
        "isRestarting": row.restart_requested_at is not None,
        "isBeingReplaced": row.is_leaving,
        "createdAt": instant(row.created_at),
    }
    texts = {
        "compute": row.revision.compute.name if row.revision.compute else "",
        "node": row.node,
        "image": row.revision.image,
        "address": row.address,
        "reason": row.reason,
    }
    told |= {name: text for name, text in texts.items() if text}
    if row.started_at is not None:
        told["startedAt"] = instant(row.started_at)
    if row.ready_at is not None:
        told["readyAt"] = instant(row.ready_at)
    if row.last_exit:
        exit_code = row.last_exit.get("exit_code")
        told["lastExit"] = {
            "time": row.last_exit["at"],
            "code": row.last_exit["code"],
            "reason": row.last_exit["reason"],
            "evidence": row.last_exit["evidence"],
            **({} if exit_code is None else {"exitCode": exit_code}),
        }
    if usage is not None:
        told["cpuPercent"] = round(usage.cpu_percent, 1)
        told["memoryPercent"] = round(usage.memory_percent, 1)
    return told


def present_build(build: Phase) -> Json:
    told: Json = {
        "operation": build.operation.kind,
        "state": build.state,
        "startTime": instant(build.started_at),
    }
    if build.operation.revision_number is not None:
        told["revision"] = build.operation.revision_number
    if build.ended_at is not None:
        told["endTime"] = instant(build.ended_at)
    if build.state == Phase.State.FAILED and build.operation.failure:
        told["error"] = present_failure(build.operation.failure, build.operation.deployment)
    return told
