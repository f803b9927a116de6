"""`ml online-deployment …`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from azure.ai.ml import load_online_deployment
from azure.core.exceptions import ResourceNotFoundError

from cli.edits import Edit
from cli.faults import MissingFault, UsageFault
from cli.names import checked_name
from cli.sdk_faults import envelope, response_text
from cli.session import Session
from cli.terminal import shown
from cli.yaml_files import dump, load_entity, reference, reload_entity


def create(
    session: Session,
    name: str | None,
    endpoint_name: str | None,
    file: str | None,
    model: str | None,
    environment: str | None,
    code: str | None,
    scoring_script: str | None,
    instance_type: str | None,
    instance_count: int | None,
    description: str | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    all_traffic: bool,
    skip_script_validation: bool,
    no_wait: bool,
) -> Any:
    if file is None and not (name and endpoint_name):
        raise UsageFault(
            "Name the deployment and its endpoint: --name and --endpoint-name, or --file with a YAML that does."
        )
    if no_wait and all_traffic:
        raise UsageFault(
            "--all-traffic needs the deployment to be ready: leave out --no-wait, or run 'portico ml "
            f"online-endpoint update -n {endpoint_name or '…'} --traffic {name or '…'}=100' later."
        )
    flags = {
        "name": name,
        "endpoint_name": endpoint_name,
        "model": model_of(model),
        "environment": environment_of(environment),
        "code_configuration": code_of(code, scoring_script),
        "instance_type": instance_type,
        "instance_count": instance_count,
        "description": description,
        "tags": tags,
    }
    deployment = load_entity(load_online_deployment, file, flags, sets)
    poller = _begin(session, deployment, skip_script_validation)
    made = _finish(session, poller, deployment, "Creating", no_wait)
    if made is not None and all_traffic:
        send_all_traffic(session, deployment.endpoint_name, deployment.name)
    return made


def update(
    session: Session,
    name: str | None,
    endpoint_name: str | None,
    file: str | None,
    sets: list[Edit] | None,
    instance_count: int | None,
    skip_script_validation: bool,
    no_wait: bool,
) -> Any:
    """A file is the whole wish; without one the deployment as it is, changed by `--set`."""
    if file is not None:
        flags = {"name": name, "endpoint_name": endpoint_name, "instance_count": instance_count}
        deployment = load_entity(load_online_deployment, file, flags, sets)
    elif name and endpoint_name:
        deployment = session.ml.online_deployments.get(name, endpoint_name)
        if sets:
            deployment = reload_entity(load_online_deployment, deployment, sets)
        if instance_count is not None:
            deployment.instance_count = instance_count
    else:
        raise UsageFault("Which deployment? --name and --endpoint-name, or --file with a YAML.")
    poller = _begin(session, deployment, skip_script_validation)
    return _finish(session, poller, deployment, "Updating", no_wait)


def show(session: Session, name: str, endpoint_name: str) -> Any:
    return dump(session.ml.online_deployments.get(name, endpoint_name))


def list_all(session: Session, endpoint_name: str) -> Any:
    rows = session.ml.online_deployments.list(endpoint_name)
    return [{**dump(row), "endpoint_name": endpoint_name} for row in rows]


def delete(session: Session, name: str, endpoint_name: str, no_wait: bool) -> None:
    poller = session.ml.online_deployments.begin_delete(name, endpoint_name)
    session.finish(poller, f"Deleting deployment '{name}' of '{endpoint_name}'", no_wait=no_wait)


def get_logs(
    session: Session, name: str, endpoint_name: str, lines: int, container: str | None
) -> Any:
    said = session.ml.online_deployments.get_logs(
        name, endpoint_name, lines, container_type=container
    )
    return shown(said)


def send_all_traffic(session: Session, endpoint_name: str, name: str) -> None:
    """100 % to this one, none to the others; mirrored traffic to it ends, as both cannot be."""
    endpoint = session.ml.online_endpoints.get(endpoint_name)
    endpoint.traffic = {name: 100}
    if endpoint.mirror_traffic and name in endpoint.mirror_traffic:
        endpoint.mirror_traffic = {}
    poller = session.ml.online_endpoints.begin_create_or_update(endpoint)
    session.finish(poller, f"Sending all traffic to '{name}'")


def model_of(text: str | None) -> Any:
    """A registered model, or a file or folder of this machine."""
    if text and not text.startswith("azureml:") and Path(text).exists():
        return {"path": str(Path(text).resolve())}
    return reference(text)


def environment_of(text: str | None) -> Any:
    """A registered environment, or a YAML file of this machine that describes one."""
    if text and not text.startswith("azureml:") and Path(text).is_file():
        return f"file:{Path(text).resolve()}"
    return reference(text)


def code_of(code: str | None, scoring_script: str | None) -> dict[str, str] | None:
    """`--scoring-script folder/score.py` alone means that folder."""
    if scoring_script is None:
        if code is not None:
            raise UsageFault("--code needs --scoring-script: the file in that folder to run.")
        return None
    if code is not None:
        return {"code": str(Path(code).resolve()), "scoring_script": scoring_script}
    script = Path(scoring_script).resolve()
    return {"code": str(script.parent), "scoring_script": script.name}


def _begin(session: Session, deployment: Any, skip_script_validation: bool) -> Any:
    """The poller of the write; `MissingFault` with the way out when there is no such endpoint."""
    checked_name("endpoint", deployment.endpoint_name)
    checked_name("deployment", deployment.name)
    try:
        return session.ml.online_deployments.begin_create_or_update(
            deployment, skip_script_validation=skip_script_validation
        )
    except ResourceNotFoundError as error:
        if envelope(error).get("target") != "endpoint":
            raise
        raise MissingFault(
            f"{response_text(error)}\n  What helps:\n"
            f"    - portico ml online-endpoint create -n {deployment.endpoint_name}"
        ) from error


def _finish(session: Session, poller: Any, deployment: Any, doing: str, no_wait: bool) -> Any:
    title = f"{doing} deployment '{deployment.name}' of '{deployment.endpoint_name}'"
    done = session.finish(poller, title, no_wait=no_wait)
    return None if done is None else show(session, deployment.name, deployment.endpoint_name)
