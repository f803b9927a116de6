"""`ml batch-endpoint …`"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, Output, load_batch_endpoint
from pydash import objects

from cli.edits import Edit, texts
from cli.faults import UsageFault
from cli.names import checked_name
from cli.session import Session
from cli.yaml_files import dump, load_entity, pair, read, reload_entity

SCORES, PREDICTIONS = "score", "predictions.csv"


def create(
    session: Session,
    name: str | None,
    file: str | None,
    description: str | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    no_wait: bool,
) -> Any:
    if name is None and file is None:
        raise UsageFault("Name the endpoint: --name, or --file with a YAML that does.")
    flags = {"name": name, "description": description, "tags": tags}
    return _write(
        session, load_entity(load_batch_endpoint, file, flags, sets), "Creating", no_wait
    )


def update(
    session: Session,
    name: str | None,
    file: str | None,
    defaults: dict[str, str] | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    no_wait: bool,
) -> Any:
    """A file is the whole wish; without one the endpoint as it is, changed by the flags."""
    changes: list[Edit] = [
        *(sets or []),
        *(f"defaults.{key}={value}" for key, value in (defaults or {}).items()),
    ]
    if file is not None:
        endpoint = load_entity(load_batch_endpoint, file, {"name": name}, changes)
    elif name is None:
        raise UsageFault("Which endpoint? --name, or --file with a YAML that names it.")
    else:
        endpoint = reload_entity(
            load_batch_endpoint, session.ml.batch_endpoints.get(name), changes
        )
    if tags is not None:
        endpoint.tags = {**(endpoint.tags or {}), **tags}
    return _write(session, endpoint, "Updating", no_wait)


def show(session: Session, name: str) -> Any:
    return dump(session.ml.batch_endpoints.get(name))


def list_all(session: Session) -> Any:
    return [dump(endpoint) for endpoint in session.ml.batch_endpoints.list()]


def delete(session: Session, name: str, no_wait: bool) -> None:
    poller = session.ml.batch_endpoints.begin_delete(name)
    session.finish(poller, f"Deleting endpoint '{name}'", no_wait=no_wait)


def list_jobs(session: Session, name: str, max_results: int | None) -> Any:
    return [dump(job) for job in islice(session.ml.batch_endpoints.list_jobs(name), max_results)]


def invoke(
    session: Session,
    name: str,
    deployment_name: str | None,
    file: str | None,
    input: str | None,
    input_type: str,
    output_path: str | None,
    job_name: str | None,
    experiment_name: str | None,
    mini_batch_size: int | None,
    instance_count: int | None,
    sets: list[Edit] | None,
) -> Any:
    """Start a job; what it is to read and to write comes from flags, a file, and `--set`, which go before it."""
    wish = read(file) if file else {}
    if not isinstance(wish, dict):
        raise UsageFault(f"--file {file}: it must be a mapping with inputs and outputs.")
    for key, value in map(pair, texts(sets)):
        objects.set_(wish, key, value)
    inputs = inputs_of(wish.pop("inputs", None) or {})
    outputs = {
        key: Output(**{"type": "uri_folder", **value})
        for key, value in (wish.pop("outputs", None) or {}).items()
    }
    if output_path:
        # The service takes the name of the file with the folder.
        place = f"{output_path.rstrip('/')}/{wish.pop('output_file_name', PREDICTIONS)}"
        outputs[SCORES] = Output(type="uri_file", path=place)
    if mini_batch_size is not None:
        wish["mini_batch_size"] = mini_batch_size
    if instance_count is not None:
        wish["compute"] = {**(wish.get("compute") or {}), "instance_count": instance_count}
    job = session.ml.batch_endpoints.invoke(
        endpoint_name=name,
        deployment_name=deployment_name,
        input=input_of({"type": input_type, "path": input}) if input else None,
        inputs=inputs or None,
        outputs=outputs or None,
        job_name=job_name,
        experiment_name=experiment_name,
        params_override=[{key: value} for key, value in wish.items()],
    )
    return dump(job)


def inputs_of(values: Mapping[str, Any]) -> dict[str, Input]:
    """By name; a bare value is a literal."""
    return {
        name: input_of(value if isinstance(value, Mapping) else {"default": value})
        for name, value in values.items()
    }


def input_of(value: Mapping[str, Any]) -> Input:
    """Of `type`, `path` and `default`; paths of this machine are relative to where the command runs."""
    if value.get("path"):
        path = str(value["path"])
        here = Path(path)
        if here.exists():
            path = str(here.resolve())
        kind = "uri_file" if here.is_file() else value.get("type") or "uri_folder"
        return Input(type=kind, path=path)
    literal = value.get("default")
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return Input(type=value.get("type") or kinds.get(type(literal), "string"), default=literal)


def _write(session: Session, endpoint: Any, doing: str, no_wait: bool) -> Any:
    checked_name("endpoint", endpoint.name)
    poller = session.ml.batch_endpoints.begin_create_or_update(endpoint)
    done = session.finish(poller, f"{doing} endpoint '{endpoint.name}'", no_wait=no_wait)
    return None if done is None else show(session, endpoint.name)
