"""Models, environments and code: containers and their versions (wire 8, 9, 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast
from rest_framework.request import Request
from rest_framework.response import Response

from api import datastores
from api.arm import ArmView, Json, instant, page, system_data, type_of, word_of
from api.bodies import Body
from deployments.environments import curated
from deployments.environments.specification import EnvironmentSpec, translate
from workspaces import catalog, uploads
from workspaces.errors import NotFound
from workspaces.models import (
    Code,
    CodeVersion,
    Environment,
    EnvironmentVersion,
    Model,
    ModelVersion,
    Workspace,
)

AnyVersion = ModelVersion | EnvironmentVersion | CodeVersion
LIST_VIEWS: dict[str, str] = {"ActiveOnly": "active", "ArchivedOnly": "archived", "All": "all"}
MODEL_TYPES: dict[str, str] = {kind: kind for kind in ModelVersion.Type.values}
OS_TYPES: dict[str, str] = {"Linux": "linux", "Windows": "windows"}
ROUTES: dict[str, str] = {
    "livenessRoute": "liveness_route",
    "readinessRoute": "readiness_route",
    "scoringRoute": "scoring_route",
}


@dataclass(frozen=True)
class Family:
    """One kind of asset: what its paths, rows and rights are called."""

    collection: str
    kind: str
    asset_class: Any
    version_class: Any


MODELS = Family("models", "model", Model, ModelVersion)
ENVIRONMENTS = Family("environments", "environment", Environment, EnvironmentVersion)
CODES = Family("codes", "code", Code, CodeVersion)


class AssetView(ArmView):
    """Reading needs `<collection>/read`, or `/versions/read`; archiving and writing the same with `write`."""

    family: Family = MODELS
    level: ClassVar[str] = ""
    writes: ClassVar[frozenset[str]] = frozenset()

    def action_of(self, method: str) -> str:
        prefix = f"{self.family.collection}{self.level}"
        if method in self.writes:
            return f"{prefix}/write"
        return f"{prefix}/read" if method == "GET" else ""

    def find_asset(self, name: str) -> Any:
        rows = self.family.asset_class.objects.filter(workspace=self.workspace, name=name)
        found = _with_latest(rows).first()
        if found is None:
            raise NotFound(
                f"Workspace '{self.workspace.name}' has no {self.family.kind} '{name}'.",
                target="name",
            )
        return found

    def find_version(self, name: str, version: str) -> Any:
        found = self.versions(name).filter(version=version).first()
        if found is None:
            raise NotFound(
                f"Workspace '{self.workspace.name}' has no {self.family.kind} '{name}' of version "
                f"'{version}'.",
                target="version",
            )
        return found

    def versions(self, name: str) -> QuerySet[Any]:
        kind = self.family.kind
        # Of "azureml:name@latest" in code, the SDK asks for the versions of "azureml:name".
        name = name.removeprefix("azureml:")
        rows = self.family.version_class.objects.filter(
            **{f"{kind}__workspace": self.workspace, f"{kind}__name": name}
        )
        found: QuerySet[Any] = rows.select_related(f"{kind}__workspace", "created_by")
        return found


class AssetList(AssetView):
    def get(self, request: Request) -> Response:
        rows = self.family.asset_class.objects.filter(workspace=self.workspace, is_anonymous=False)
        return page(
            request,
            _viewed(_with_latest(rows), request),
            lambda row: present_asset(self.family, self.workspace, row),
        )


class AssetDetail(AssetView):
    writes = frozenset({"PUT", "PATCH"})

    def get(self, request: Request, name: str) -> Response:
        return Response(present_asset(self.family, self.workspace, self.find_asset(name)))

    def patch(self, request: Request, name: str) -> Response:
        """`properties.isArchived` hides all versions, or shows them again."""
        asset = self.find_asset(name)
        body = Body(self.body()).section("properties")
        archived = body.flag("isArchived", asset.archived_at is not None)
        body.finish()
        (catalog.archive if archived else catalog.restore)(asset, by=self.caller)
        return Response(present_asset(self.family, self.workspace, asset))

    put = patch


class VersionList(AssetView):
    level = "/versions"

    def get(self, request: Request, name: str) -> Response:
        """Newest first; a name that nobody has registered has an empty list, as the SDK expects."""
        return page(
            request,
            _viewed(self.versions(name), request),
            lambda row: present_version(request, self.family, row),
            order="-pk",
        )


class VersionDetail(AssetView):
    level = "/versions"
    writes = frozenset({"PATCH"})

    def get(self, request: Request, name: str, version: str) -> Response:
        found = self.find_version(name, version)
        return Response(present_version(request, self.family, found))

    def patch(self, request: Request, name: str, version: str) -> Response:
        """Description, tags and `isArchived`; the content of a version never changes."""
        found = self.find_version(name, version)
        body = Body(self.body()).section("properties")
        description = body.text("description", found.description)
        tags = body.merged_texts("tags", found.tags)
        archived = body.flag("isArchived", found.archived_at is not None)
        body.finish()
        catalog.describe(found, description=description, tags=tags, by=self.caller)
        (catalog.archive if archived else catalog.restore)(found, by=self.caller)
        return Response(present_version(request, self.family, found))


class WrittenVersionDetail(VersionDetail):
    """Registered by PUT. With the same content again, PUT archives, restores or describes what is there.

    Other content under a version that exists is a `Conflict`, on which the SDK goes on to the next version.
    """

    writes = frozenset({"PATCH", "PUT"})

    def put(self, request: Request, name: str, version: str) -> Response:
        is_new = not self.versions(name).filter(version=version).exists()
        body = Body(self.body()).section("properties")
        labels = catalog.Labels(
            description=body.text("description"),
            tags=body.texts("tags", {}),
            properties=_plain_texts(body),
            is_anonymous=body.flag("isAnonymous", False),
        )
        archived = body.flag("isArchived", False)
        made = self.register(name, version, body, labels)
        catalog.describe(made, description=labels.description, tags=labels.tags, by=self.caller)
        (catalog.archive if archived else catalog.restore)(made, by=self.caller)
        told = present_version(request, self.family, made)
        return Response(told, status=201 if is_new else 200)

    def register(self, name: str, version: str, body: Body, labels: catalog.Labels) -> AnyVersion:
        """Read the rest of the body, finish it, and register what it states."""
        raise NotImplementedError


class ModelVersionDetail(WrittenVersionDetail):
    family = MODELS

    def register(self, name: str, version: str, body: Body, labels: catalog.Labels) -> AnyVersion:
        kind = body.choice("modelType", MODEL_TYPES, ModelVersion.Type.CUSTOM)
        upload = _upload(self.workspace, body, "modelUri")
        return catalog.register_model(
            self.workspace,
            name,
            upload.content,
            leaf=upload.leaf,
            is_folder=upload.is_folder,
            by=self.caller,
            version=version,
            type=kind,
            labels=labels,
        )


class CodeVersionDetail(WrittenVersionDetail):
    family = CODES

    def register(self, name: str, version: str, body: Body, labels: catalog.Labels) -> AnyVersion:
        upload = _upload(self.workspace, body, "codeUri")
        return catalog.register_code(
            self.workspace,
            name,
            upload.content,
            leaf=upload.leaf,
            by=self.caller,
            version=version,
            labels=labels,
        )


class CodeVersionList(VersionList):
    family = CODES

    def versions(self, name: str) -> QuerySet[Any]:
        """With `hash`, those with that content under any name: the SDK asks under one it made up just now."""
        wanted = self.request.query_params.get("hash")
        if wanted is None:
            return super().versions(name)
        rows = CodeVersion.objects.filter(
            code__workspace=self.workspace,
            properties__hash_sha256=wanted.replace("\x00", ""),
            properties__hash_version=self.request.query_params.get("hashVersion", "").replace(
                "\x00", ""
            ),
        )
        return rows.select_related("code__workspace", "created_by")


class EnvironmentVersionDetail(WrittenVersionDetail):
    family = ENVIRONMENTS

    def register(self, name: str, version: str, body: Body, labels: catalog.Labels) -> AnyVersion:
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


def present_asset(family: Family, workspace: Workspace, asset: Any) -> Json:
    """`asset` comes from `_with_latest`."""
    latest = asset.latest_version
    return {
        "id": f"{workspace.arm_id}/{family.collection}/{asset.name}",
        "name": asset.name,
        "type": type_of(family.collection),
        "properties": {
            "latestVersion": latest,
            "nextVersion": str((asset.highest_number or 0) + 1),
            "isArchived": asset.archived_at is not None,
            "tags": {},
            "properties": {},
        },
        "systemData": {
            "createdAt": instant(asset.created_at),
            "lastModifiedAt": instant(asset.created_at),
        },
    }


def present_version(request: Request, family: Family, version: AnyVersion) -> Json:
    asset = getattr(version, family.kind)
    properties: Json = {
        "description": version.description,
        "tags": version.tags,
        "properties": version.properties,
        "isAnonymous": asset.is_anonymous,
        "isArchived": version.archived_at is not None,
        "provisioningState": "Succeeded",
    }
    workspace = asset.workspace
    if isinstance(version, ModelVersion):
        path = uploads.asset_path(version.content_hash, version.leaf)
        properties |= {
            "modelType": version.type,
            "modelUri": datastores.datastore_uri(workspace, path),
            "flavors": {name: {"data": data} for name, data in version.flavors.items()},
        }
    elif isinstance(version, CodeVersion):
        path = uploads.asset_path(version.content_hash, version.leaf)
        properties["codeUri"] = _address(request, workspace, path)
    else:
        properties |= _present_environment(request, version)
    return {
        "id": f"{workspace.arm_id}/{family.collection}/{asset.name}/versions/{version.version}",
        "name": version.version,
        "type": type_of(f"{family.collection}/versions"),
        "properties": properties,
        "systemData": system_data(version),
    }


def _present_environment(request: Request, version: EnvironmentVersion) -> Json:
    told: Json = {
        "osType": word_of(OS_TYPES, version.os_type),
        "environmentType": "Curated" if version.curated else "UserCreated",
    }
    if version.image:
        told["image"] = version.image
    if version.conda_file:
        told["condaFile"] = version.conda_file
    if version.build_context_hash:
        path = uploads.asset_path(version.build_context_hash, uploads.CONTEXT)
        told["build"] = {
            "contextUri": f"{_address(request, version.environment.workspace, path)}/",
            "dockerfilePath": version.dockerfile_path,
        }
    if version.inference_config:
        told["inferenceConfig"] = {
            word: version.inference_config[ours]
            for word, ours in ROUTES.items()
            if ours in version.inference_config
        }
    return told


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


def _upload(workspace: Workspace, body: Body, name: str) -> datastores.Upload:
    """The content behind the address of that name, once the rest of the body is found right."""
    uri = body.text(name, longest=4000)
    body.finish()
    return datastores.open_uri(workspace, uri, target=f"properties.{name}")


def _plain_texts(body: Body) -> dict[str, str]:
    """The properties of an asset: the SDK puts a number among them, the version of its hash."""
    given = body.mapping("properties", {})
    if not all(isinstance(value, str | int | float) for value in given.values()):
        return body.texts("properties", {})
    return {key: str(value) for key, value in given.items()}


def _address(request: Request, workspace: Workspace, path: str) -> str:
    return f"{datastores.account_url(request, workspace)}/{datastores.CONTAINER}/{path}"


def _viewed(rows: QuerySet[Any], request: Request) -> QuerySet[Any]:
    """The rows that `listViewType` asks for; active ones when it is absent."""
    query = Body(request.query_params)
    view = query.choice("listViewType", LIST_VIEWS, "active")
    query.finish()
    if view == "all":
        return rows
    return rows.filter(archived_at__isnull=view == "active")


def _with_latest(rows: QuerySet[Any]) -> QuerySet[Any]:
    """With `latest_version`, and `highest_number` of the versions that are numbers."""
    version_class = rows.model._meta.get_field("versions").related_model
    own = version_class._base_manager.filter(**{rows.model._meta.model_name: OuterRef("pk")})
    newest = (
        own.filter(archived_at__isnull=True).order_by("-created_at", "-pk").values("version")[:1]
    )
    numbers = (
        own.filter(version__regex=r"^[0-9]{1,9}$")
        .order_by()
        .annotate(number=Cast("version", IntegerField()))
        .order_by("-number")
        .values("number")[:1]
    )
    found: QuerySet[Any] = rows.annotate(
        latest_version=Subquery(newest), highest_number=Subquery(numbers)
    )
    return found
