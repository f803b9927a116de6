"""Building and checking registered environments: our own addresses; Azure builds as runs of a registry."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, instant, page
from api.bodies import Body
from api.operations import present_failure
from deployments.environment_builds import cancel_build, start_build
from deployments.environment_checks import check_environment
from deployments.models import EnvironmentBuild
from workspaces.errors import NotFound, UserError
from workspaces.models import EnvironmentVersion, Workspace

READ, WRITE = "environments/versions/read", "environments/versions/write"
LINES = 5000


class BuildList(ArmView):
    actions = {"GET": READ, "POST": WRITE}

    def get(self, request: Request, name: str, version: str) -> Response:
        found = find_environment_version(self.workspace, name, version)
        return page(request, found.builds.select_related("created_by"), present, order="-pk")

    def post(self, request: Request, name: str, version: str) -> Response:
        """Begin one; the one that waits or runs already, if there is."""
        found = find_environment_version(self.workspace, name, version)
        return Response(present(start_build(found, by=self.caller)), status=202)


class BuildDetail(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, name: str, version: str, build: str) -> Response:
        return Response(present(find_build(self.workspace, name, version, build)))


class CancelBuild(ArmView):
    actions = {"POST": WRITE}

    def post(self, request: Request, name: str, version: str, build: str) -> Response:
        found = find_build(self.workspace, name, version, build)
        cancel_build(found, by=self.caller)
        return Response(present(find_build(self.workspace, name, version, build)), status=202)


class GetBuildLog(ArmView):
    actions = {"POST": "environments/versions/getLogs/action"}

    def post(self, request: Request, name: str, version: str, build: str) -> Response:
        found = find_build(self.workspace, name, version, build)
        body = Body(self.body())
        tail = body.whole("tail", LINES)
        body.finish()
        if tail < 1:
            raise UserError(f"tail is {tail}. It must be at least 1.", target="tail")
        return Response({"content": "\n".join(found.log.splitlines()[-tail:])})


class CheckEnvironment(ArmView):
    actions = {"POST": WRITE}

    def post(self, request: Request, name: str, version: str) -> Response:
        """What its packages are; with `resolve`, the versions that fit together. Nothing is built."""
        found = find_environment_version(self.workspace, name, version)
        body = Body(self.body())
        resolves = body.flag("resolve", False)
        body.finish()
        checked = check_environment(found, resolves=resolves)
        told: Json = {"isBuilt": checked.is_built, "warnings": []}
        if checked.translation is not None:
            told["requirements"] = list(checked.translation.requirements)
            told["warnings"] = list(checked.translation.warnings)
            if checked.translation.python:
                told["python"] = checked.translation.python
        if checked.lock is not None:
            told["lock"] = checked.lock.text
        return Response(told)


def find_environment_version(workspace: Workspace, name: str, version: str) -> EnvironmentVersion:
    rows = EnvironmentVersion.objects.filter(
        environment__workspace=workspace, environment__name=name, version=version
    )
    found = rows.select_related("environment__workspace").first()
    if found is None:
        raise NotFound(
            f"Workspace '{workspace.name}' has no environment '{name}' of version '{version}'.",
            target="version",
        )
    return found


def find_build(workspace: Workspace, name: str, version: str, build: str) -> EnvironmentBuild:
    rows = find_environment_version(workspace, name, version).builds.select_related(
        "created_by", "environment_version__environment__workspace"
    )
    is_number = build.isascii() and build.isdecimal() and len(build) < 19
    found = rows.filter(pk=int(build)).first() if is_number else None
    if found is None:
        raise NotFound(f"Environment '{name}:{version}' has no build '{build}'.", target="build")
    return found


def present(build: EnvironmentBuild) -> Json:
    told: Json = {
        "id": build.pk,
        "state": build.state,
        "runtime": build.runtime,
        "wasCached": build.was_cached,
        "isCanceling": build.is_busy and build.cancel_requested,
        "warnings": build.warnings,
        "createdAt": instant(build.created_at),
    }
    texts = {"image": build.image, "key": build.key, "python": build.python_version}
    told |= {name: text for name, text in texts.items() if text}
    if build.created_by is not None:
        told["createdBy"] = build.created_by.get_username()
    if build.size_bytes is not None:
        told["sizeBytes"] = build.size_bytes
    if build.started_at is not None:
        told["startTime"] = instant(build.started_at)
    if build.ended_at is not None:
        told["endTime"] = instant(build.ended_at)
    if build.failure:
        told["error"] = present_failure(build.failure)
    return told
