"""What all assets have in common, containers and their versions; and models and code (wire 8, 10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast
from rest_framework.request import Request
from rest_framework.response import Response

from api import datastores
from api.arm import ArmView, Json, instant, page, system_data, type_of
from api.bodies import Body
from workspaces import catalog, uploads
from workspaces.errors import NotFound
from workspaces.models import (
    Code,
    CodeVersion,
    Model,
    ModelVersion,
    User,
    Workspace,
)

LIST_VIEWS: dict[str, str] = {"ActiveOnly": "active", "ArchivedOnly": "archived", "All": "all"}
MODEL_TYPES: dict[str, str] = {kind: kind for kind in ModelVersion.Type.values}


@dataclass(frozen=True)
class Family:
    """One kind of asset: what its paths, rows and rights are called, and what is told of it alone."""

    collection: str
    kind: str
    asset_class: Any
    version_class: Any
    present_version: Callable[[Request, Any], Json]
    """Further properties of a version."""
    present_asset: Callable[[Any], Json] = lambda asset: {}
    """Further properties of the container; `newest_type` is the type of the newest version."""


def present_model(request: Request, version: ModelVersion) -> Json:
    path = uploads.asset_path(version.content_hash, version.leaf)
    return {
        "modelType": version.type,
        "modelUri": datastores.datastore_uri(version.model.workspace, path),
        "flavors": {name: {"data": data} for name, data in version.flavors.items()},
    }


def present_code(request: Request, version: CodeVersion) -> Json:
    path = uploads.asset_path(version.content_hash, version.leaf)
    return {"codeUri": datastores.file_url(request, version.code.workspace, path)}


MODELS = Family("models", "model", Model, ModelVersion, present_model)
CODES = Family("codes", "code", Code, CodeVersion, present_code)


class AssetView(ArmView):
    """Reading needs `<collection>/read`, or `/versions/read`; archiving and writing the same with `write`,
    deleting with `delete`.
    """

    family: Family = MODELS
    level: ClassVar[str] = ""
    writes: ClassVar[frozenset[str]] = frozenset()

    def action_of(self, method: str) -> str:
        prefix = f"{self.family.collection}{self.level}"
        if method in self.writes:
            return f"{prefix}/write"
        if method == "DELETE" and hasattr(self, "delete"):
            return f"{prefix}/delete"
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

    def delete(self, request: Request, name: str) -> Response:
        """With all versions; refused while one of them is used."""
        rows = self.family.asset_class.objects.filter(workspace=self.workspace, name=name)
        return _delete(rows.first(), self.caller)


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

    def delete(self, request: Request, name: str, version: str) -> Response:
        return _delete(self.versions(name).filter(version=version).first(), self.caller)


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
            properties=plain_texts(body),
            is_anonymous=body.flag("isAnonymous", False),
        )
        archived = body.flag("isArchived", False)
        made = self.register(name, version, body, labels)
        catalog.describe(made, description=labels.description, tags=labels.tags, by=self.caller)
        (catalog.archive if archived else catalog.restore)(made, by=self.caller)
        told = present_version(request, self.family, made)
        return Response(told, status=201 if is_new else 200)

    def register(
        self, name: str, version: str, body: Body, labels: catalog.Labels
    ) -> catalog.AnyVersion:
        """Read the rest of the body, finish it, and register what it states."""
        raise NotImplementedError


class ModelVersionDetail(WrittenVersionDetail):
    family = MODELS

    def register(
        self, name: str, version: str, body: Body, labels: catalog.Labels
    ) -> catalog.AnyVersion:
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

    def register(
        self, name: str, version: str, body: Body, labels: catalog.Labels
    ) -> catalog.AnyVersion:
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
            **family.present_asset(asset),
        },
        "systemData": {
            "createdAt": instant(asset.created_at),
            "lastModifiedAt": instant(asset.created_at),
        },
    }


def present_version(request: Request, family: Family, version: Any) -> Json:
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
    properties |= family.present_version(request, version)
    return {
        "id": f"{workspace.arm_id}/{family.collection}/{asset.name}/versions/{version.version}",
        "name": version.version,
        "type": type_of(f"{family.collection}/versions"),
        "properties": properties,
        "systemData": system_data(version),
    }


def _delete(found: Any, caller: User) -> Response:
    """Deleting what is not there is success."""
    if found is None:
        return Response(status=204)
    catalog.delete(found, by=caller)
    return Response(status=200)


def _upload(workspace: Workspace, body: Body, name: str) -> datastores.Upload:
    """The content behind the address of that name, once the rest of the body is found right."""
    uri = body.text(name, longest=4000)
    body.finish()
    return datastores.open_uri(workspace, uri, target=f"properties.{name}")


def plain_texts(body: Body) -> dict[str, str]:
    """The properties of an asset: the SDK puts a number among them, the version of its hash."""
    given = body.mapping("properties", {})
    if not all(isinstance(value, str | int | float) for value in given.values()):
        return body.texts("properties", {})
    return {key: str(value) for key, value in given.items()}


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
    fields = {field.name for field in version_class._meta.get_fields()}
    if "type" in fields:
        rows = rows.annotate(newest_type=Subquery(own.order_by("-pk").values("type")[:1]))
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
