"""`ml batch-deployment …`"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from azure.ai.ml import load_batch_deployment
from azure.ai.ml.entities._load_functions import (
    load_model_batch_deployment,
    load_pipeline_component_batch_deployment,
)

from cli.edits import Edit
from cli.faults import UsageFault
from cli.ml.online_deployments import code_of, environment_of, model_of
from cli.names import checked_name
from cli.session import Session
from cli.yaml_files import dump, load_entity, read, reload_entity


def create(
    session: Session,
    name: str | None,
    endpoint_name: str | None,
    file: str | None,
    model: str | None,
    environment: str | None,
    code: str | None,
    scoring_script: str | None,
    compute: str | None,
    mini_batch_size: int | None,
    description: str | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    set_default: bool,
    skip_script_validation: bool,
    no_wait: bool,
) -> Any:
    if file is None and not (name and endpoint_name):
        raise UsageFault(
            "Name the deployment and its endpoint: --name and --endpoint-name, or --file with a YAML that does."
        )
    flags = {
        "name": name,
        "endpoint_name": endpoint_name,
        "model": model_of(model),
        "environment": environment_of(environment),
        "code_configuration": code_of(code, scoring_script),
        "compute": compute if compute is None or ":" in compute else f"azureml:{compute}",
        "mini_batch_size": mini_batch_size,
        "description": description,
        "tags": tags,
    }
    if set_default and no_wait:
        raise UsageFault("--set-default needs the deployment to be there: leave out --no-wait.")
    deployment = load_entity(loader_of(file), file, flags, sets)
    made = _write(session, deployment, "Creating", no_wait, skip_script_validation)
    if set_default:
        _make_default(session, deployment.endpoint_name, deployment.name)
    return made


def update(
    session: Session,
    name: str | None,
    endpoint_name: str | None,
    file: str | None,
    sets: list[Edit] | None,
    skip_script_validation: bool,
    no_wait: bool,
) -> Any:
    """A file is the whole wish; without one the deployment as it is, changed by `--set`."""
    if file is not None:
        flags = {"name": name, "endpoint_name": endpoint_name}
        deployment = load_entity(loader_of(file), file, flags, sets)
    elif name and endpoint_name:
        found = session.ml.batch_deployments.get(name, endpoint_name)
        deployment = reload_entity(load_batch_deployment, found, sets or [])
        deployment.endpoint_name = endpoint_name
    else:
        raise UsageFault("Which deployment? --name and --endpoint-name, or --file with a YAML.")
    return _write(session, deployment, "Updating", no_wait, skip_script_validation)


def loader_of(file: str | None) -> Callable[..., Any]:
    """The SDK reads each layout of the YAML by another function: `type: model`, `type: pipeline`, or the flat one."""
    document = read(file) if file else {}
    kind = str(document.get("type", "")).lower() if isinstance(document, dict) else ""
    if kind == "model":
        return load_model_batch_deployment  # type: ignore[no-any-return]
    if kind == "pipeline":
        return load_pipeline_component_batch_deployment  # type: ignore[no-any-return]
    return load_batch_deployment  # type: ignore[no-any-return]


def show(session: Session, name: str, endpoint_name: str) -> Any:
    found = dump(session.ml.batch_deployments.get(name, endpoint_name))
    return {**found, "endpoint_name": endpoint_name}


def list_all(session: Session, endpoint_name: str) -> Any:
    rows = session.ml.batch_deployments.list(endpoint_name)
    return [{**dump(row), "endpoint_name": endpoint_name} for row in rows]


def delete(session: Session, name: str, endpoint_name: str, no_wait: bool) -> None:
    poller = session.ml.batch_deployments.begin_delete(name, endpoint_name)
    session.finish(poller, f"Deleting deployment '{name}' of '{endpoint_name}'", no_wait=no_wait)


def list_jobs(session: Session, name: str, endpoint_name: str, max_results: int | None) -> Any:
    rows = session.ml.batch_deployments.list_jobs(endpoint_name, name=name)
    return [dump(job) for job in islice(rows, max_results)]


def _make_default(session: Session, endpoint_name: str, name: str) -> None:
    endpoint = session.ml.batch_endpoints.get(endpoint_name)
    endpoint.defaults.deployment_name = name
    poller = session.ml.batch_endpoints.begin_create_or_update(endpoint)
    session.finish(poller, f"Making '{name}' the default of '{endpoint_name}'")


def _write(
    session: Session, deployment: Any, doing: str, no_wait: bool, skip_script_validation: bool
) -> Any:
    checked_name("endpoint", deployment.endpoint_name)
    checked_name("deployment", deployment.name)
    poller = session.ml.batch_deployments.begin_create_or_update(
        deployment, skip_script_validation=skip_script_validation
    )
    title = f"{doing} deployment '{deployment.name}' of '{deployment.endpoint_name}'"
    done = session.finish(poller, title, no_wait=no_wait)
    return None if done is None else show(session, deployment.name, deployment.endpoint_name)
