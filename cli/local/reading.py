"""What the SDK is needed for: YAML into its entities, and a client for assets of a portal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from azure.ai.ml import MLClient, load_online_deployment, load_online_endpoint

from cli.edits import Edit, edited, texts
from cli.faults import UsageFault
from cli.local import lifecycle
from cli.ml.online_deployments import code_of, environment_of, model_of
from cli.session import open_session, require_workspace
from cli.yaml_files import load_entity, pair


def deployment_of(values: Mapping[str, Any]) -> Any:
    """The deployment that a `create` or an `update` with a file describes, by the arguments of its command."""
    name, endpoint_name, file = values["name"], values["endpoint_name"], values["file"]
    if file is None and not (name and endpoint_name):
        raise UsageFault(
            "Name the deployment and its endpoint: --name and --endpoint-name, or --file with a YAML that does."
        )
    flags = {
        "name": name,
        "endpoint_name": endpoint_name,
        "model": model_of(values.get("model")),
        "environment": environment_of(values.get("environment")),
        "code_configuration": code_of(values.get("code"), values.get("scoring_script")),
        # The SDK insists on one; here there is only this machine.
        "instance_type": values.get("instance_type") or ("local" if file is None else None),
        "description": values.get("description"),
        "tags": values.get("tags"),
    }
    return load_entity(load_online_deployment, file, flags, values["sets"])


def kept_deployment(endpoint_name: str, name: str, sets: list[Edit]) -> Any:
    """The deployment as its last command has left it, changed by `--add`, `--remove` and `--set`."""
    kept = edited(lifecycle.find(endpoint_name, name).yaml, sets)
    source = io.StringIO(yaml.safe_dump(kept, sort_keys=False))
    overrides = [dict([pair(text)]) for text in texts(sets)]
    # What was kept has absolute paths; those of --set are relative to where the user is.
    origin = str(Path.cwd() / "set.yml")
    return load_online_deployment(source, relative_origin=origin, params_override=overrides)


def endpoint_of(values: Mapping[str, Any]) -> Any:
    """The endpoint that a command describes, by its arguments."""
    if values["name"] is None and values["file"] is None:
        raise UsageFault("Name the endpoint: --name, or --file with a YAML that does.")
    flags = {key: values.get(key) for key in ("name", "auth_mode", "description", "tags")}
    return load_entity(load_online_endpoint, values["file"], flags, values["sets"])


def sign_in(scope: Mapping[str, str]) -> MLClient:
    """The client of the user's workspace; `UsageFault` for one who is not signed in."""
    with open_session(**scope) as session:
        require_workspace(session)
        return session.ml
