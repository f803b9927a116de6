"""`ml compute|datastore|workspace …`"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from azure.ai.ml import load_compute, load_datastore
from azure.ai.ml.constants import Scope

from cli.edits import Edit
from cli.faults import UsageFault
from cli.session import Session
from cli.yaml_files import dump, load_entity, plain, reload_entity


def create_compute(
    session: Session,
    file: str | None,
    sets: list[Edit] | None,
    no_wait: bool,
    **flags: Any,
) -> Any:
    if file is None and not (flags["name"] and flags["type"]):
        raise UsageFault("Describe the compute: --name and --type, or --file with a YAML.")
    compute = load_entity(load_compute, file, flags, sets)
    poller = session.ml.compute.begin_create_or_update(compute)
    return _outcome(session, poller, f"Creating compute '{compute.name}'", no_wait)


def attach_compute(
    session: Session,
    file: str | None,
    sets: list[Edit] | None,
    no_wait: bool,
    runtime: str | None,
    **flags: Any,
) -> Any:
    if file is None and not flags["name"]:
        raise UsageFault("Describe the compute: --name, or --file with a YAML.")
    if file is None:
        flags["type"] = flags["type"] or "kubernetes"
    compute = load_entity(load_compute, file, flags, sets)
    if runtime is not None:
        # The SDK hands over the properties of a cluster that it does not know.
        place = compute.properties.setdefault("portico", {})
        place["runtime"] = runtime
    poller = session.ml.compute.begin_attach(compute)
    return _outcome(session, poller, f"Attaching compute '{compute.name}'", no_wait)


def update_compute(
    session: Session,
    name: str,
    min_instances: int | None,
    max_instances: int | None,
    idle_time_before_scale_down: int | None,
    sets: list[Edit] | None,
    no_wait: bool,
) -> Any:
    compute = session.ml.compute.get(name)
    if sets:
        compute = reload_entity(load_compute, compute, sets)
    for field, value in (
        ("min_instances", min_instances),
        ("max_instances", max_instances),
        ("idle_time_before_scale_down", idle_time_before_scale_down),
    ):
        if value is not None:
            setattr(compute, field, value)
    poller = session.ml.compute.begin_update(compute)
    return _outcome(session, poller, f"Updating compute '{name}'", no_wait)


def show_compute(session: Session, name: str) -> Any:
    return dump(session.ml.compute.get(name))


def list_computes(session: Session, type: str | None, max_results: int | None) -> Any:
    return [dump(row) for row in islice(session.ml.compute.list(compute_type=type), max_results)]


def delete_compute(session: Session, name: str, no_wait: bool) -> None:
    poller = session.ml.compute.begin_delete(name)
    session.finish(poller, f"Deleting compute '{name}'", no_wait=no_wait)


def list_nodes(session: Session, name: str) -> Any:
    return [dump(node) for node in session.ml.compute.list_nodes(name)]


def list_sizes(session: Session, location: str | None, type: str | None) -> Any:
    return [
        dump(size) for size in session.ml.compute.list_sizes(location=location, compute_type=type)
    ]


def list_usage(session: Session, location: str | None) -> Any:
    return [dump(usage) for usage in session.ml.compute.list_usage(location=location)]


def create_datastore(
    session: Session, name: str | None, file: str, sets: list[Edit] | None
) -> Any:
    datastore = load_entity(load_datastore, file, {"name": name}, sets)
    return dump(session.ml.datastores.create_or_update(datastore))


def update_datastore(
    session: Session, name: str, file: str | None, sets: list[Edit] | None
) -> Any:
    if file is not None:
        datastore = load_entity(load_datastore, file, {"name": name}, sets)
    else:
        found = session.ml.datastores.get(name, include_secrets=True)
        datastore = reload_entity(load_datastore, found, sets or [])
    return dump(session.ml.datastores.create_or_update(datastore))


def show_datastore(
    session: Session, name: str | None, default: bool, include_secrets: bool
) -> Any:
    """Keys are left out unless they are asked for."""
    if default == bool(name):
        raise UsageFault("Which datastore? --name, or --default, not both.")
    verbs = session.ml.datastores
    found = (
        verbs.get_default(include_secrets=include_secrets)
        if default
        else verbs.get(name, include_secrets=include_secrets)
    )
    return dump(found)


def list_datastores(session: Session, max_results: int | None, include_secrets: bool) -> Any:
    rows = session.ml.datastores.list(include_secrets=include_secrets)
    return [dump(row) for row in islice(rows, max_results)]


def delete_datastore(session: Session, name: str) -> None:
    session.ml.datastores.delete(name)


def show_workspace(session: Session, name: str | None) -> Any:
    """The one that commands mean, unless another is named."""
    return dump(session.ml.workspaces.get(name or session.ml.workspace_name))


def list_workspaces(session: Session, max_results: int | None) -> Any:
    """Of the resource group, or, when none is named or configured, of the subscription."""
    scope = Scope.RESOURCE_GROUP if session.ml.resource_group_name else Scope.SUBSCRIPTION
    return [dump(row) for row in islice(session.ml.workspaces.list(scope=scope), max_results)]


def list_keys(session: Session, name: str | None) -> Mapping[str, Any]:
    found = session.ml.workspaces.get_keys(name or session.ml.workspace_name)
    return dict(plain(vars(found)))


def _outcome(session: Session, poller: Any, doing: str, no_wait: bool) -> Any:
    done = session.finish(poller, doing, no_wait=no_wait)
    return None if done is None else dump(done)
