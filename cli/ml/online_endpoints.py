"""`ml online-endpoint …`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from azure.ai.ml import load_online_endpoint

from cli.edits import Edit
from cli.faults import UsageFault
from cli.ml import debug_sessions
from cli.names import checked_name
from cli.session import Session
from cli.yaml_files import dump, load_entity, reload_entity


def create(
    session: Session,
    name: str | None,
    file: str | None,
    auth_mode: str | None,
    compute: str | None,
    description: str | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    no_wait: bool,
) -> Any:
    flags = {
        "name": name,
        "auth_mode": auth_mode,
        "compute": compute,
        "description": description,
        "tags": tags,
    }
    if name is None and file is None:
        raise UsageFault("Name the endpoint: --name, or --file with a YAML that does.")
    return _write(
        session, load_entity(load_online_endpoint, file, flags, sets), "Creating", no_wait
    )


def update(
    session: Session,
    name: str | None,
    file: str | None,
    traffic: dict[str, int] | None,
    mirror_traffic: dict[str, int] | None,
    tags: dict[str, str] | None,
    sets: list[Edit] | None,
    no_wait: bool,
) -> Any:
    """A file is the whole wish; without one the endpoint as it is, changed by the flags."""
    if file is not None:
        endpoint = load_entity(load_online_endpoint, file, {"name": name}, sets)
    elif name is None:
        raise UsageFault("Which endpoint? --name, or --file with a YAML that names it.")
    else:
        endpoint = session.ml.online_endpoints.get(name)
        if sets:
            endpoint = reload_entity(load_online_endpoint, endpoint, sets)
    if traffic is not None:
        endpoint.traffic = traffic
    if mirror_traffic is not None:
        endpoint.mirror_traffic = mirror_traffic
    if tags is not None:
        endpoint.tags = {**(endpoint.tags or {}), **tags}
    return _write(session, endpoint, "Updating", no_wait)


def show(session: Session, name: str) -> Any:
    """With every deployment in its traffic: the SDK leaves out one that only gets mirrored requests."""
    endpoint = session.ml.online_endpoints.get(name)
    for deployment in endpoint.mirror_traffic:
        endpoint.traffic.setdefault(deployment, 0)
    return dump(endpoint)


def list_all(session: Session) -> Any:
    return [dump(endpoint) for endpoint in session.ml.online_endpoints.list()]


def delete(session: Session, name: str, no_wait: bool) -> None:
    poller = session.ml.online_endpoints.begin_delete(name)
    session.finish(poller, f"Deleting endpoint '{name}'", no_wait=no_wait)


def invoke(session: Session, name: str, request_file: str, deployment_name: str | None) -> Any:
    """The body of the answer, as text."""
    _check_json(request_file)
    if deployment_name is not None and debug_sessions.is_meant_by(deployment_name):
        return debug_sessions.invoke(session, name, request_file, deployment_name)
    return session.ml.online_endpoints.invoke(
        name, request_file=request_file, deployment_name=deployment_name
    )


def get_credentials(session: Session, name: str) -> Any:
    """Keys or a token, in az's words."""
    return session.ml.online_endpoints.get_keys(name)


def regenerate_keys(session: Session, name: str, key_type: str, no_wait: bool) -> None:
    poller = session.ml.online_endpoints.begin_regenerate_keys(name, key_type=key_type)
    session.finish(poller, f"Making a new {key_type} key for '{name}'", no_wait=no_wait)


def _check_json(file: str) -> None:
    """The SDK sends nothing else; its own words for it are a traceback."""
    try:
        json.loads(Path(file).read_bytes())
    except OSError as error:
        raise UsageFault(f"--request-file {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageFault(f"--request-file {file} is not JSON: {error}.") from error


def _write(session: Session, endpoint: Any, doing: str, no_wait: bool) -> Any:
    checked_name("endpoint", endpoint.name)
    poller = session.ml.online_endpoints.begin_create_or_update(endpoint)
    done = session.finish(poller, f"{doing} endpoint '{endpoint.name}'", no_wait=no_wait)
    # The answer to the write lacks the deployments without traffic, which `show` tells as 0.
    return None if done is None else show(session, endpoint.name)
