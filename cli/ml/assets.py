"""`ml model|environment|data|component …`: the verbs are the same, what a flag means differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from azure.ai.ml import load_component, load_data, load_environment, load_model
from azure.ai.ml.constants import ListViewType

from cli.edits import Edit, Removal, edited, texts
from cli.faults import UsageFault
from cli.session import Session
from cli.yaml_files import dump, load_entity, pair

REMOTE = ("azureml:", "http://", "https://", "wasbs://", "abfss://")


@dataclass(frozen=True)
class Kind:
    """How the SDK calls them."""

    operations: str
    load: Callable[..., Any]


KINDS = {
    "model": Kind("models", load_model),
    "environment": Kind("environments", load_environment),
    "data": Kind("data", load_data),
    "component": Kind("components", load_component),
}


def create(
    session: Session,
    kind: str,
    name: str | None,
    version: str | None,
    file: str | None,
    sets: list[Edit] | None,
    **flags: Any,
) -> Any:
    """Without a version the portal counts on from the last one."""
    if file is None and name is None:
        raise UsageFault(f"Name the {kind}: --name, or --file with a YAML that does.")
    values = {"name": name, "version": version, **_fields(flags)}
    entity = load_entity(KINDS[kind].load, file, values, sets)
    return dump(operations(session, kind).create_or_update(entity))


def update(
    session: Session,
    kind: str,
    name: str,
    version: str | None,
    label: str | None,
    description: str | None,
    tags: Mapping[str, str] | None,
    sets: list[Edit] | None,
) -> Any:
    """The files of a version never change; its description, tags and properties do."""
    entity = _get(session, kind, name, version, label)
    if description is not None:
        entity.description = description
    for edit in sets or []:
        if not isinstance(edit, str) and edit.path.partition(".")[0] != "tags":
            flag = "--remove" if isinstance(edit, Removal) else "--add"
            raise UsageFault(f"{flag} {edit.path}: of a registered {kind} only tags can be so.")
    changed = edited({"tags": entity.tags or {}}, sets).get("tags", {}) | dict(tags or {})
    for key, value in map(pair, texts(sets)):
        field, _, rest = key.partition(".")
        if field == "tags" and rest:
            changed[rest] = value
        elif field == "tags":
            changed = dict(value)
        elif key in {"description", "stage"}:
            setattr(entity, key, value)
        else:
            raise UsageFault(
                f"--set {key}: of a registered {kind} only description and tags change. Register a new version for "
                "the rest."
            )
    entity.tags = changed
    return dump(operations(session, kind).create_or_update(entity))


def show(session: Session, kind: str, name: str, version: str | None, label: str | None) -> Any:
    return dump(_get(session, kind, name, version, label))


def list_all(
    session: Session,
    kind: str,
    name: str | None,
    max_results: int | None,
    archived_only: bool,
    include_archived: bool,
) -> Any:
    view = ListViewType.ACTIVE_ONLY
    if archived_only:
        view = ListViewType.ARCHIVED_ONLY
    elif include_archived:
        view = ListViewType.ALL
    rows = operations(session, kind).list(name, list_view_type=view)
    return [_row(entity) for entity in islice(rows, max_results)]


def set_archived(
    session: Session,
    kind: str,
    name: str,
    version: str | None,
    label: str | None,
    is_archived: bool,
) -> None:
    verbs = operations(session, kind)
    verb = verbs.archive if is_archived else verbs.restore
    verb(name=name, version=version, label=label)


def download(session: Session, kind: str, name: str, version: str, download_path: str) -> None:
    operations(session, kind).download(name, version=version, download_path=download_path)


def operations(session: Session, kind: str) -> Any:
    return getattr(session.ml, KINDS[kind].operations)


def _get(session: Session, kind: str, name: str, version: str | None, label: str | None) -> Any:
    if version is None and label is None:
        raise UsageFault("Which version? --version, or --label latest.")
    return operations(session, kind).get(name, version=version, label=label)


def _row(entity: Any) -> Any:
    """A row of `list`; the SDK tells `latest_version` of names and `version` of versions."""
    return {**dump(entity), **_latest(entity)}


def _latest(entity: Any) -> dict[str, Any]:
    latest = getattr(entity, "latest_version", None)
    return {"latest_version": latest} if latest else {}


def _fields(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as fields of the YAML; paths are relative to where the command runs, not to the file."""
    values = {key: value for key, value in flags.items() if value is not None}
    for key in ("path", "conda_file"):
        if key in values:
            values[key] = _absolute(values[key])
    build = values.pop("build_context", None)
    dockerfile = values.pop("dockerfile_path", None)
    if build:
        values["build.path"] = _absolute(build)
    if dockerfile:
        values["build.dockerfile_path"] = dockerfile
    return values


def _absolute(path: str) -> str:
    return path if path.startswith(REMOTE) else str(Path(path).resolve())
