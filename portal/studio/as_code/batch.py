"""Batch endpoints and their deployments of a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Local
from portal.studio.as_code.writing import (
    Entity,
    Program,
    Step,
    command,
    local_path,
    request,
    rest,
    script,
    segment,
    upload,
    wait,
    without_empty,
    write_file,
    write_files,
    yaml_text,
)

OUTPUT_ACTIONS = {"append_row": "AppendRow", "summary_only": "SummaryOnly"}


@dataclass(frozen=True)
class BatchEndpoint:
    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    default_deployment: str = ""


@dataclass(frozen=True)
class BatchDeployment:
    """References are `azureml:…` addresses; of an MLflow model there may be neither code nor environment."""

    endpoint: str
    name: str
    model: str = ""
    code: str | Local | None = None
    scoring_script: str = "score.py"
    environment: str = ""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    compute: str = ""
    instance_count: int = 1
    max_concurrency_per_instance: int = 1
    mini_batch_size: int = 10
    error_threshold: int = -1
    max_retries: int = 3
    timeout_seconds: int = 30
    logging_level: str = "info"
    output_action: str = "append_row"
    output_file_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


def write_endpoint(place: Place, endpoint: BatchEndpoint, *, is_new: bool) -> Forms:
    """Make it, or change description and tags."""
    values = {
        "name": endpoint.name,
        "description": endpoint.description,
        "tags": dict(endpoint.tags),
    }
    program = Program(place)
    if is_new:
        entity = Entity("BatchEndpoint", without_empty(values))
        program.do("batch_endpoints.begin_create_or_update", entity)
    else:
        program.take("endpoint", "batch_endpoints.get", endpoint.name)
        program.set("endpoint.description", endpoint.description)
        program.set("endpoint.tags", dict(endpoint.tags))
        program.lines.append("ml.batch_endpoints.begin_create_or_update(endpoint).result()")
    text = _endpoint_yaml(endpoint)
    verb = "create" if is_new else "update"
    return Forms(
        yaml={"batch-endpoint.yml": text},
        cli=script(
            *write_file("batch-endpoint.yml", text),
            command(f"batch-endpoint {verb}", place, file="batch-endpoint.yml"),
        ),
        python=program.text,
        rest=rest(place, request("PUT", _path(endpoint.name), _endpoint_body(endpoint))),
    )


def set_default(place: Place, endpoint: BatchEndpoint, deployment: str) -> Forms:
    """Where jobs go that name no deployment."""
    program = Program(place)
    program.take("endpoint", "batch_endpoints.get", endpoint.name)
    program.set("endpoint.defaults", {"deployment_name": deployment})
    program.lines.append("ml.batch_endpoints.begin_create_or_update(endpoint).result()")
    wish = f"--set defaults.deployment_name={deployment}"
    body = {"properties": {"defaults": {"deploymentName": deployment}}}
    return Forms(
        yaml={
            "batch-endpoint.yml": _endpoint_yaml(replace(endpoint, default_deployment=deployment))
        },
        cli=script(command(f"batch-endpoint update {wish}", place, name=endpoint.name)),
        python=program.text,
        rest=rest(place, request("PATCH", _path(endpoint.name), body)),
    )


def delete_endpoint(place: Place, endpoint: BatchEndpoint) -> Forms:
    program = Program(place)
    program.do("batch_endpoints.begin_delete", endpoint.name)
    return Forms(
        yaml={"batch-endpoint.yml": _endpoint_yaml(endpoint)},
        cli=script(command("batch-endpoint delete --yes", place, name=endpoint.name)),
        python=program.text,
        rest=rest(place, request("DELETE", _path(endpoint.name))),
    )


def write_deployment(
    place: Place, deployment: BatchDeployment, *, is_new: bool, is_default: bool = False
) -> Forms:
    """Make it, or put this one in its place."""
    text = _deployment_yaml(deployment)
    verb = "create" if is_new else "update"
    flag = " --set-default" if is_default else ""
    return Forms(
        yaml={"batch-deployment.yml": text},
        cli=script(
            *write_files(deployment.code),
            *write_file("batch-deployment.yml", text),
            command(f"batch-deployment {verb}{flag}", place, file="batch-deployment.yml"),
        ),
        python=_deployment_program(place, deployment, is_default),
        rest=rest(place, *_deployment_requests(place, deployment, is_default)),
    )


def delete_deployment(place: Place, deployment: BatchDeployment) -> Forms:
    program = Program(place)
    program.do("batch_deployments.begin_delete", deployment.name, deployment.endpoint)
    path = f"{_path(deployment.endpoint)}/deployments/{segment(deployment.name)}"
    return Forms(
        yaml={"batch-deployment.yml": _deployment_yaml(deployment)},
        cli=script(
            command(
                "batch-deployment delete --yes",
                place,
                name=deployment.name,
                endpoint_name=deployment.endpoint,
            )
        ),
        python=program.text,
        rest=rest(place, request("DELETE", path)),
    )


def _endpoint_yaml(endpoint: BatchEndpoint) -> str:
    values = {
        "name": endpoint.name,
        "description": endpoint.description,
        "tags": dict(endpoint.tags),
        "defaults": without_empty({"deployment_name": endpoint.default_deployment}),
    }
    return yaml_text("batchEndpoint", values)


def _endpoint_body(endpoint: BatchEndpoint) -> dict[str, Any]:
    defaults = without_empty({"deploymentName": endpoint.default_deployment})
    facts = {
        "description": endpoint.description,
        "authMode": "aadToken",
        "defaults": defaults,
    }
    return {
        "location": "local",
        "tags": dict(endpoint.tags),
        "properties": without_empty(facts),
    }


def _deployment_yaml(deployment: BatchDeployment) -> str:
    values = {
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "type": "model",
        "description": deployment.description,
        "tags": dict(deployment.tags),
        "properties": dict(deployment.properties),
        "model": deployment.model,
        "code_configuration": _code(deployment),
        "environment": deployment.environment,
        "compute": f"azureml:{deployment.compute}" if deployment.compute else "",
        "resources": {"instance_count": deployment.instance_count},
        "settings": _settings(deployment),
    }
    return yaml_text("modelBatchDeployment", values)


def _settings(deployment: BatchDeployment) -> dict[str, Any]:
    return without_empty(
        {
            "mini_batch_size": deployment.mini_batch_size,
            "max_concurrency_per_instance": deployment.max_concurrency_per_instance,
            "error_threshold": deployment.error_threshold,
            "retry_settings": {
                "max_retries": deployment.max_retries,
                "timeout": deployment.timeout_seconds,
            },
            "logging_level": deployment.logging_level,
            "output_action": deployment.output_action,
            "output_file_name": deployment.output_file_name,
            "environment_variables": dict(deployment.environment_variables),
        }
    )


def _code(deployment: BatchDeployment) -> dict[str, str]:
    code = deployment.code
    if code is None:
        return {}
    path = local_path(code) if isinstance(code, Local) else code
    return {"code": path, "scoring_script": deployment.scoring_script}


def _deployment_program(place: Place, deployment: BatchDeployment, is_default: bool) -> str:
    program = Program(place)
    code: Entity | None = None
    if isinstance(deployment.code, Local):
        program.files(deployment.code)
    if deployment.code is not None:
        path = (
            deployment.code.path
            if isinstance(deployment.code, Local)
            else deployment.code.removeprefix("azureml:")
        )
        facts = {"code": path, "scoring_script": deployment.scoring_script}
        code = Entity("CodeConfiguration", facts)
    settings = _settings(deployment)
    settings["retry_settings"] = Entity("BatchRetrySettings", settings["retry_settings"])
    values = {
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "description": deployment.description,
        "tags": dict(deployment.tags),
        "properties": dict(deployment.properties),
        "model": deployment.model,
        "code_configuration": code,
        "environment": deployment.environment,
        "compute": deployment.compute,
        "resources": Entity(
            "ResourceConfiguration", {"instance_count": deployment.instance_count}
        ),
        "settings": Entity("ModelBatchDeploymentSettings", settings),
    }
    entity = Entity("ModelBatchDeployment", without_empty(values))
    program.do("batch_deployments.begin_create_or_update", entity)
    if is_default:
        program.take("endpoint", "batch_endpoints.get", deployment.endpoint)
        program.set("endpoint.defaults", {"deployment_name": deployment.name})
        program.lines.append("ml.batch_endpoints.begin_create_or_update(endpoint).result()")
    return program.text


def _deployment_requests(
    place: Place, deployment: BatchDeployment, is_default: bool
) -> list[Step]:
    steps: list[Step] = []
    code = deployment.code
    reference = code if isinstance(code, str) else ""
    if isinstance(code, Local):
        steps += upload(place, code)
        uri = {"codeUri": f"{place.files_url}/{code.path}", "isAnonymous": True}
        steps.append(request("PUT", f"codes/{place.upload}/versions/1", {"properties": uri}))
        reference = place.reference("codes", place.upload, "1")
    body = _deployment_body(place, deployment, reference.removeprefix("azureml:"))
    path = f"{_path(deployment.endpoint)}/deployments/{segment(deployment.name)}"
    steps += [request("PUT", path, body), wait(path)]
    if is_default:
        default = {"properties": {"defaults": {"deploymentName": deployment.name}}}
        steps.append(request("PATCH", _path(deployment.endpoint), default))
    return steps


def _deployment_body(place: Place, deployment: BatchDeployment, code: str) -> dict[str, Any]:
    model = {"referenceType": "Id", "assetId": deployment.model} if deployment.model else {}
    script_of = {"codeId": code, "scoringScript": deployment.scoring_script} if code else {}
    properties = {
        "description": deployment.description,
        "properties": dict(deployment.properties),
        "model": model,
        "codeConfiguration": script_of,
        "environmentId": deployment.environment,
        "environmentVariables": dict(deployment.environment_variables),
        "compute": f"{place.arm_id}/computes/{deployment.compute}" if deployment.compute else "",
        "resources": {"instanceCount": deployment.instance_count},
        "maxConcurrencyPerInstance": deployment.max_concurrency_per_instance,
        "miniBatchSize": deployment.mini_batch_size,
        "errorThreshold": deployment.error_threshold,
        "retrySettings": {
            "maxRetries": deployment.max_retries,
            "timeout": f"PT{deployment.timeout_seconds}S",
        },
        "loggingLevel": deployment.logging_level.capitalize(),
        "outputAction": OUTPUT_ACTIONS.get(deployment.output_action, deployment.output_action),
        "outputFileName": deployment.output_file_name,
    }
    return {
        "location": "local",
        "tags": dict(deployment.tags),
        "properties": without_empty(properties),
    }


def _path(endpoint: str) -> str:
    return f"batchEndpoints/{segment(endpoint)}"
