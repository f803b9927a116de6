"""Environments: an image, a conda file, or a build context (wire 9)."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from api import datastores
from api.arm import Json, word_of
from api.assets import Family, WrittenVersionDetail
from api.bodies import Body
from deployments.environments import curated
from deployments.environments.specification import EnvironmentSpec, translate
from workspaces import catalog, uploads
from workspaces.models import Environment, EnvironmentVersion, Workspace

OS_TYPES: dict[str, str] = {"Linux": "linux", "Windows": "windows"}
ROUTES: dict[str, str] = {
    "livenessRoute": "liveness_route",
    "readinessRoute": "readiness_route",
    "scoringRoute": "scoring_route",
}


def present(request: Request, version: EnvironmentVersion) -> Json:
    told: Json = {
        "osType": word_of(OS_TYPES, version.os_type),
        "environmentType": "Curated" if version.curated else "UserCreated",
    }
    if version.image:
        told["image"] = version.image
    if version.conda_file:
        told["condaFile"] = version.conda_file
    if version.build_context_hash:
        workspace = version.environment.workspace
        path = uploads.asset_path(version.build_context_hash, uploads.CONTEXT)
        told["build"] = {
            "contextUri": f"{datastores.file_url(request, workspace, path)}/",
            "dockerfilePath": version.dockerfile_path,
        }
    if version.inference_config:
        told["inferenceConfig"] = {
            word: version.inference_config[ours]
            for word, ours in ROUTES.items()
            if ours in version.inference_config
        }
    return told


ENVIRONMENTS = Family("environments", "environment", Environment, EnvironmentVersion, present)


class EnvironmentVersionDetail(WrittenVersionDetail):
    family = ENVIRONMENTS

    def register(
        self, name: str, version: str, body: Body, labels: catalog.Labels
    ) -> catalog.AnyVersion:
        facts = parse_environment(self.workspace, body)
        body.finish()
        return catalog.register_environment(
            self.workspace, name, version=version, by=self.caller, labels=labels, **facts
        )


def parse_environment(workspace: Workspace, body: Body) -> dict[str, Any]:
    """The facts of an environment; packages that mean nothing are refused before anything is kept."""
    image = body.text("image", longest=500)
    conda_file = body.text("condaFile", longest=1_000_000)
    build = body.section("build")
    context = build.text("contextUri", longest=4000)
    dockerfile = build.text("dockerfilePath", "Dockerfile", longest=255) if context else ""
    if conda_file:
        body.run(lambda: translate(EnvironmentSpec(conda_text=conda_file)), None)
    known = curated(image) if image and not conda_file else None
    facts = {
        "image": image,
        "conda_file": conda_file,
        "os_type": body.choice("osType", OS_TYPES, "linux"),
        "inference_config": _parse_routes(body.section("inferenceConfig")),
        "curated": known.name if known else "",
        "dockerfile_path": dockerfile,
        "build_context_hash": "",
    }
    if context:
        target = "properties.build.contextUri"
        found = body.run(lambda: datastores.open_uri(workspace, context, target=target), None)
        facts["build_context_hash"] = found.content.content_hash if found else ""
    return facts


def _parse_routes(body: Body) -> dict[str, Any]:
    routes: dict[str, Any] = {}
    for word, ours in ROUTES.items():
        if body.has(word):
            route = body.section(word)
            routes[ours] = {
                "path": route.text("path", longest=500),
                "port": route.whole("port", 0),
            }
    return routes
