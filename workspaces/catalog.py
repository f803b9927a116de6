"""Registering, finding, archiving: the verbs of assets; those of data and components alone stand in files of theirs."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

import yaml
from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone

from workspaces import plain_yaml, storage
from workspaces.activity import record
from workspaces.errors import Conflict, ContentChanged, NotFound, UserError
from workspaces.models import (
    Code,
    CodeVersion,
    Component,
    ComponentVersion,
    Data,
    DataVersion,
    Environment,
    EnvironmentVersion,
    Model,
    ModelVersion,
    User,
    Workspace,
)
from workspaces.storage import Content

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
# The SDK gives anonymous environments the hash of their content, 64 digits, for a version.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

LARGEST_MLMODEL_BYTES = 1_000_000
PLACE_OF_FILES = frozenset({"content_hash", "uri", "leaf", "is_folder"})

AnyAsset = Model | Environment | Code | Data | Component
AnyVersion = ModelVersion | EnvironmentVersion | CodeVersion | DataVersion | ComponentVersion


@dataclass(frozen=True)
class Labels:
    """What may be said about a version besides its content."""

    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    is_anonymous: bool = False


def register_model(
    workspace: Workspace,
    name: str,
    content: Content,
    *,
    leaf: str,
    is_folder: bool,
    by: User | None,
    version: str = "",
    type: str = ModelVersion.Type.CUSTOM,
    labels: Labels | None = None,
) -> ModelVersion:
    """Register stored content as a model; `version` empty takes the next number.

    The same name, version and content again returns what is there; other content is a `Conflict`.
    """
    if type not in ModelVersion.Type.values:
        raise UserError(
            f"The model type '{type}' is not known. Use one of {', '.join(ModelVersion.Type.values)}.",
            target="type",
        )
    facts = {
        "content_hash": content.content_hash,
        "leaf": storage.safe_path(leaf),
        "is_folder": is_folder,
        "size_bytes": content.size_bytes,
        "file_count": content.file_count,
        "type": type,
        "flavors": _flavors(content) if type == ModelVersion.Type.MLFLOW else {},
    }
    version_row: ModelVersion = register(
        Model, ModelVersion, workspace, name, version, facts, labels or Labels(), by
    )
    return version_row


def register_code(
    workspace: Workspace,
    name: str,
    content: Content,
    *,
    leaf: str = "code",
    by: User | None,
    version: str = "",
    labels: Labels | None = None,
) -> CodeVersion:
    """Register a stored folder of code; rules of repetition as for models."""
    facts = {
        "content_hash": content.content_hash,
        "leaf": storage.safe_path(leaf),
        "is_folder": True,
        "size_bytes": content.size_bytes,
        "file_count": content.file_count,
    }
    version_row: CodeVersion = register(
        Code, CodeVersion, workspace, name, version, facts, labels or Labels(), by
    )
    return version_row


def register_environment(
    workspace: Workspace,
    name: str,
    *,
    by: User | None,
    version: str = "",
    image: str = "",
    conda_file: str = "",
    requirements: str = "",
    build_context_hash: str = "",
    dockerfile_path: str = "",
    os_type: str = "linux",
    inference_config: dict[str, Any] | None = None,
    curated: str = "",
    labels: Labels | None = None,
) -> EnvironmentVersion:
    """Register an environment: an image, a conda file, pip requirements, or a build context."""
    if not (image or conda_file or requirements or build_context_hash or curated):
        raise UserError(
            "The environment is empty. Give an image, a conda file, pip requirements, or a build context.",
            target="image",
        )
    if build_context_hash and (image or conda_file):
        raise UserError(
            "An environment has either a build context or an image with a conda file, not both.",
            target="build",
        )
    facts = {
        "image": image,
        "conda_file": conda_file,
        "requirements": requirements,
        "build_context_hash": build_context_hash,
        "dockerfile_path": dockerfile_path,
        "os_type": os_type,
        "inference_config": inference_config or {},
        "curated": curated,
    }
    labels = labels or Labels()
    if labels.is_anonymous and version:
        version = _own_version(workspace, name, version, facts)
    version_row: EnvironmentVersion = register(
        Environment, EnvironmentVersion, workspace, name, version, facts, labels, by
    )
    return version_row


def register_anonymous_model(
    workspace: Workspace, content: Content, *, leaf: str, is_folder: bool, by: User | None
) -> ModelVersion:
    """A model that belongs to a deployment alone; the same content gives the same one (facts 1)."""
    name = _anonymous_name(content.content_hash, leaf, str(is_folder))
    labels = Labels(is_anonymous=True)
    return register_model(
        workspace, name, content, leaf=leaf, is_folder=is_folder, by=by, version="1", labels=labels
    )


def register_anonymous_code(
    workspace: Workspace, content: Content, *, by: User | None
) -> CodeVersion:
    name = _anonymous_name(content.content_hash)
    labels = Labels(is_anonymous=True)
    return register_code(workspace, name, content, by=by, version="1", labels=labels)


def register_anonymous_environment(
    workspace: Workspace, *, by: User | None, **facts: Any
) -> EnvironmentVersion:
    """`facts` are those of `register_environment`."""
    name = _anonymous_name(json.dumps(facts, sort_keys=True))
    labels = Labels(is_anonymous=True)
    return register_environment(workspace, name, by=by, version="1", labels=labels, **facts)


def check_name(kind: str, name: str) -> None:
    """Whether an asset may have this name: worth knowing before its files are stored."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"The {kind} name {name[:300]!r} is not allowed. Use 1 to 255 letters, digits, '_', '-' and '.', "
            "beginning with a letter or digit.",
            target="name",
        )


def unsaved_environment(**facts: Any) -> EnvironmentVersion:
    """An environment that is only looked at, to check it before it is registered."""
    return EnvironmentVersion(**facts)


def resolve_model(workspace: Workspace, reference: str) -> ModelVersion:
    """The version that `azureml:name:3`, `name:3` or `name@latest` names (archived ones included)."""
    found = resolve(Model, ModelVersion, workspace, reference, "model")
    assert isinstance(found, ModelVersion)
    return found


def resolve_environment(workspace: Workspace, reference: str) -> EnvironmentVersion:
    found = resolve(Environment, EnvironmentVersion, workspace, reference, "environment")
    assert isinstance(found, EnvironmentVersion)
    return found


def resolve_code(workspace: Workspace, reference: str) -> CodeVersion:
    found = resolve(Code, CodeVersion, workspace, reference, "code")
    assert isinstance(found, CodeVersion)
    return found


def archive(subject: AnyAsset | AnyVersion, *, by: User | None) -> None:
    """Hide it from lists; what runs on it goes on, and it can be restored. Twice is success."""
    _set_archived(subject, True, by)


def restore(subject: AnyAsset | AnyVersion, *, by: User | None) -> None:
    _set_archived(subject, False, by)


def delete(subject: AnyAsset | AnyVersion, *, by: User | None) -> None:
    """Remove a version, or a name with all its versions; `Conflict` names what still needs one of them.

    The files go once nothing else has the same ones (`workspaces.leftovers`).
    """
    workspace, told = _workspace_of(subject), str(subject)
    try:
        with transaction.atomic():
            record(workspace, "delete", subject, by=by)
            subject.delete()
    except ProtectedError as error:
        users = list(error.protected_objects)
        named = ", ".join(sorted(str(row) for row in users[:5]))
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        raise Conflict(
            f"{told} is used by {named}{more}. Delete what uses it first, or archive it: that hides it from lists.",
            target="name",
        ) from error


def describe(
    version: AnyVersion, *, description: str, tags: dict[str, str], by: User | None
) -> None:
    """Change what is said about a version; its content never changes. The same again changes nothing."""
    before = {"description": version.description, "tags": version.tags}
    after = {"description": description, "tags": tags}
    if before == after:
        return
    version.description, version.tags = description, tags
    version.save(update_fields=["description", "tags"])
    record(_workspace_of(version), "describe", version, by=by, before=before, after=after)


def _set_archived(subject: AnyAsset | AnyVersion, archived: bool, by: User | None) -> None:
    if (subject.archived_at is not None) == archived:
        return
    subject.archived_at = timezone.now() if archived else None
    subject.save(update_fields=["archived_at"])
    record(_workspace_of(subject), "archive" if archived else "restore", subject, by=by)


def _workspace_of(subject: AnyAsset | AnyVersion) -> Workspace:
    if isinstance(subject, ModelVersion):
        return subject.model.workspace
    if isinstance(subject, EnvironmentVersion):
        return subject.environment.workspace
    if isinstance(subject, CodeVersion):
        return subject.code.workspace
    if isinstance(subject, DataVersion):
        return subject.data.workspace
    if isinstance(subject, ComponentVersion):
        return subject.component.workspace
    return subject.workspace


@transaction.atomic
def register(
    asset_class: Any,
    version_class: Any,
    workspace: Workspace,
    name: str,
    version: str,
    facts: dict[str, Any],
    labels: Labels,
    by: User | None,
) -> Any:
    """Add a version made of `facts`, or return the one that is there; `Conflict` when that one has other facts."""
    kind = asset_class._meta.model_name
    _check_names(kind, name, version, labels)
    _check_lengths(version_class, facts)
    asset, _ = asset_class.objects.get_or_create(
        workspace=workspace, name=name, defaults={"is_anonymous": labels.is_anonymous}
    )
    # Serialises the numbering of versions of one name.
    asset_class.objects.select_for_update().get(pk=asset.pk)
    if version:
        existing = version_class.objects.filter(**{kind: asset, "version": version}).first()
        if existing is not None:
            return _same_or_conflict(existing, facts)
    else:
        numbers = asset.versions.values_list("version", flat=True)
        version = str(max((int(text) for text in numbers if text.isdigit()), default=0) + 1)
    created = version_class.objects.create(
        **{kind: asset},
        version=version,
        description=labels.description,
        tags=labels.tags,
        properties=labels.properties,
        created_by=by,
        **facts,
    )
    if not labels.is_anonymous:
        record(workspace, "register", created, by=by)
    return created


def _own_version(workspace: Workspace, name: str, version: str, facts: dict[str, Any]) -> str:
    """The version asked for, unless that is one with other content: then one made of this content.

    The SDK's version of an anonymous build context leaves out its inference_config, so two may have the same.
    """
    taken = EnvironmentVersion.objects.filter(
        environment__workspace=workspace, environment__name=name, version=version
    ).first()
    if taken is None or all(getattr(taken, key) == value for key, value in facts.items()):
        return version
    return hashlib.sha256(json.dumps([version, facts], sort_keys=True).encode()).hexdigest()


def _anonymous_name(*parts: str) -> str:
    """A generated name, the same for the same content."""
    return str(uuid.UUID(bytes=hashlib.sha256("\0".join(parts).encode()).digest()[:16]))


def _same_or_conflict(existing: Any, facts: dict[str, Any]) -> Any:
    changed = [key for key, value in facts.items() if getattr(existing, key) != value]
    if changed:
        kind = ContentChanged if PLACE_OF_FILES.intersection(changed) else Conflict
        raise kind(
            f"{existing} exists with other content ({', '.join(changed)} differ). Versions do not change: "
            "register a new version.",
            target="version",
        )
    return existing


def _check_names(kind: str, name: str, version: str, labels: Labels) -> None:
    check_name(kind, name)
    if version and not VERSION.fullmatch(version):
        raise UserError(
            f"The version {version[:60]!r} is not allowed. Use 1 to 64 letters, digits, '_', '-' and '.'.",
            target="version",
        )
    for field_name in ("tags", "properties"):
        values = getattr(labels, field_name)
        if not isinstance(values, dict) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in values.items()
        ):
            raise UserError(f"{field_name} must map texts to texts.", target=field_name)


def _check_lengths(version_class: Any, facts: dict[str, Any]) -> None:
    for field_name, value in facts.items():
        longest = getattr(version_class._meta.get_field(field_name), "max_length", None)
        if longest is not None and isinstance(value, str) and len(value) > longest:
            raise UserError(
                f"{field_name} has {len(value)} characters. At most {longest} are allowed.",
                target=field_name,
            )


def resolve(
    asset_class: Any, version_class: Any, workspace: Workspace, reference: str, kind: str
) -> AnyVersion:
    """The version that a reference names; `NotFound` says which is the latest."""
    text = reference.removeprefix("azureml:").strip()
    name, version, latest = text, "", False
    if "/" in text:  # the long ARM id ends in …/models/<name>/versions/<version>
        parts = text.rstrip("/").split("/")
        if len(parts) >= 4 and parts[-2] == "versions":
            name, version = parts[-3], parts[-1]
        elif len(parts) >= 4 and parts[-2] == "labels":
            name, latest = parts[-3], parts[-1] == "latest"
    elif text.endswith("@latest"):
        name, latest = text.removesuffix("@latest"), True
    elif ":" in text:
        name, version = text.split(":", 1)
    versions = version_class.objects.filter(
        **{f"{kind}__workspace": workspace, f"{kind}__name": name}
    ).select_related(f"{kind}__workspace")
    if not version and not latest:
        raise UserError(
            f"'{reference}' names no version. Write azureml:{name}:<version> or azureml:{name}@latest.",
            target=kind,
        )
    newest = versions.filter(archived_at__isnull=True).order_by("-created_at", "-pk").first()
    found = newest if latest else versions.filter(version=version).first()
    if found is None:
        known = f"The latest is {newest.version}." if newest else f"No {kind} has that name here."
        raise NotFound(f"{kind.capitalize()} {text} does not exist. {known}", target=kind)
    resolved: AnyVersion = found
    return resolved


def _flavors(content: Content) -> dict[str, Any]:
    """The flavors of an MLmodel file; `UserError` when the folder is no MLflow model."""
    paths = [entry.path for entry in storage.entries(content.content_hash)]
    if "MLmodel" not in paths:
        raise UserError(
            "An MLflow model needs a file named MLmodel at the top of its folder. Choose the folder that "
            "mlflow wrote, or the type custom_model.",
            target="type",
        )
    try:
        text = storage.read_file(content.content_hash, "MLmodel", limit=LARGEST_MLMODEL_BYTES)
        loaded = plain_yaml.load(text, may_alias=True)
    except yaml.YAMLError as error:
        raise UserError(f"The file MLmodel is not valid YAML: {error}.", target="type") from error
    flavors = loaded.get("flavors") if isinstance(loaded, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise UserError("The file MLmodel names no flavors.", target="type")
    return {str(name): {"version": _version(value)} for name, value in flavors.items()}


def _version(flavor: Any) -> str:
    """The library version that a flavor names: `sklearn_version`, `lgb_version`, …"""
    if not isinstance(flavor, dict):
        return ""
    named = (value for key, value in flavor.items() if str(key).endswith("_version"))
    found = next(named, "")
    return str(found)[:60] if isinstance(found, str | int | float) else ""
