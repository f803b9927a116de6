"""A wish as YAML and as commands, in Azure's own words: what the form says can be kept in a repository. Pure."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from deployments.models import PROBE_DEFAULTS
from deployments.specs import DeploymentSpec
from endpoints.models import OnlineEndpoint
from workspaces.models import EnvironmentVersion

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


def as_code(endpoint: OnlineEndpoint, spec: DeploymentSpec) -> list[dict[str, str]]:
    """Samples for the code block: both files, then the commands that send them."""
    commands = [
        "portico ml online-endpoint create -f endpoint.yml",
        f"portico ml online-deployment create --endpoint-name {shlex.quote(endpoint.name)} -f deployment.yml",
    ]
    return [
        {
            "language": "deployment",
            "label": "deployment.yml",
            "text": _dump(deployment_yaml(endpoint, spec)),
        },
        {"language": "endpoint", "label": "endpoint.yml", "text": _dump(endpoint_yaml(endpoint))},
        {"language": "cli", "label": "CLI", "text": "\n".join(commands)},
    ]


def endpoint_yaml(endpoint: OnlineEndpoint) -> dict[str, Any]:
    return _without_empty(
        {
            "$schema": f"{SCHEMAS}/managedOnlineEndpoint.schema.json",
            "name": endpoint.name,
            "description": endpoint.description,
            "auth_mode": endpoint.auth_mode,
            "tags": endpoint.tags,
        }
    )


def deployment_yaml(endpoint: OnlineEndpoint, spec: DeploymentSpec) -> dict[str, Any]:
    """Names of environment variables without their values: a file in a repository is no place for secrets."""
    return _without_empty(
        {
            "$schema": f"{SCHEMAS}/managedOnlineDeployment.schema.json",
            "name": spec.name,
            "endpoint_name": endpoint.name,
            "description": spec.description,
            "tags": spec.tags,
            "model": _model(spec),
            "code_configuration": {"code": "./src", "scoring_script": spec.scoring_script},
            "environment": _environment(spec.environment),
            "environment_variables": dict.fromkeys(spec.environment_variables, "…"),
            "instance_type": spec.instance_type,
            "instance_count": spec.instance_count,
            "app_insights_enabled": spec.app_insights_enabled,
            "request_settings": {
                "request_timeout_ms": spec.request_timeout_ms,
                "max_concurrent_requests_per_instance": spec.max_concurrent_requests_per_instance,
                "max_queue_wait_ms": spec.max_queue_wait_ms,
            },
            "liveness_probe": _probe(spec.liveness_probe),
            "readiness_probe": _probe(spec.readiness_probe),
        }
    )


def _model(spec: DeploymentSpec) -> Any:
    if spec.model is None:
        return None
    if spec.model.model.is_anonymous:
        return {"path": f"./{spec.model.leaf}"}
    return f"azureml:{spec.model}"


def _environment(wanted: EnvironmentVersion | None) -> Any:
    if wanted is None:
        return None
    if not wanted.environment.is_anonymous:
        return f"azureml:{wanted}"
    if wanted.curated:
        return f"azureml://registries/azureml/environments/{wanted.curated}/labels/latest"
    return {"image": wanted.image or IMAGE, "conda_file": "./conda.yaml"}


def _probe(values: dict[str, int]) -> dict[str, int]:
    return PROBE_DEFAULTS | values if values else {}


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", {})}


def _dump(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
