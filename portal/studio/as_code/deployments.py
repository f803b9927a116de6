"""One real-time deployment, for all that makes or changes one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from portal.studio.as_code.assets import (
    as_model,
    environment_body,
    model_requests,
    model_step,
)
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Deployment, Local, Model, Packages
from portal.studio.as_code.writing import (
    Entity,
    Program,
    Step,
    command,
    local_path,
    request,
    segment,
    upload,
    without_empty,
    write_file,
    write_files,
    yaml_text,
)

# The YAML's names of the fields that stand together under `request_settings`.
REQUEST_SETTINGS = (
    "request_timeout_ms",
    "max_concurrent_requests_per_instance",
    "max_queue_wait_ms",
)
PROBES = ("liveness_probe", "readiness_probe")
PROBE_WORDS = {
    "initial_delay": "initialDelay",
    "period": "period",
    "timeout": "timeout",
    "success_threshold": "successThreshold",
    "failure_threshold": "failureThreshold",
}
TIMES = {"initial_delay", "period", "timeout"}


def deployment_yaml(deployment: Deployment) -> str:
    values = {
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "description": deployment.description,
        "tags": dict(deployment.tags),
        "properties": dict(deployment.properties),
        "model": _yaml_model(deployment.model),
        "model_mount_path": deployment.model_mount_path,
        "code_configuration": _code(deployment),
        "environment": _yaml_environment(deployment.environment),
        "environment_variables": dict(deployment.environment_variables),
        "instance_type": deployment.instance_type,
        "instance_count": deployment.instance_count,
        "app_insights_enabled": deployment.app_insights_enabled,
        "request_settings": _request_settings(deployment),
        "liveness_probe": dict(deployment.liveness_probe),
        "readiness_probe": dict(deployment.readiness_probe),
        "egress_public_network_access": _egress(deployment),
        "data_collector": _yaml_collector(deployment.data_collector),
    }
    return yaml_text("managedOnlineDeployment", values)


def deployment_steps(
    place: Place, deployment: Deployment, verb: str, register: Model | None = None
) -> list[Step]:
    """Shell steps: the files, the model if it is to be registered, `portico ml online-deployment <verb>`."""
    named = [*write_files(register.files), model_step(place, register)] if register else []
    return [
        *named,
        *write_files(deployment.code),
        *write_files(context_of(deployment)),
        *write_file("deployment.yml", deployment_yaml(deployment)),
        command(f"online-deployment {verb}", place, file="deployment.yml"),
    ]


def deployment_program(
    program: Program, deployment: Deployment, register: Model | None = None
) -> None:
    """Statements that make the deployment, or put this one in its place."""
    if register:
        program.do("models.create_or_update", as_model(register))
    if isinstance(deployment.code, Local):
        program.files(deployment.code)
    context = context_of(deployment)
    if context:
        program.files(context)
    entity = Entity("ManagedOnlineDeployment", without_empty(python_fields(deployment)))
    program.do("online_deployments.begin_create_or_update", entity)


def python_fields(deployment: Deployment) -> dict[str, Any]:
    """Keyword → value, as the SDK's class takes them."""
    return {
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "description": deployment.description,
        "tags": dict(deployment.tags),
        "model": _python_model(deployment.model),
        "code_configuration": _python_code(deployment),
        "environment": _python_environment(deployment.environment),
        "environment_variables": dict(deployment.environment_variables),
        "instance_type": deployment.instance_type,
        "instance_count": deployment.instance_count,
        "app_insights_enabled": deployment.app_insights_enabled,
        "request_settings": Entity("OnlineRequestSettings", _request_settings(deployment)),
        "liveness_probe": _python_probe(deployment.liveness_probe),
        "readiness_probe": _python_probe(deployment.readiness_probe),
    }


def deployment_requests(
    place: Place, deployment: Deployment, register: Model | None, path: str
) -> list[Step]:
    """Requests: files and what they are registered as, then the deployment."""
    steps = []
    if register:
        steps += model_requests(place, register)
    ids: dict[str, str] = {}
    if isinstance(deployment.model, Local):
        anonymous = Model(f"{place.upload}-model", deployment.model, version="1")
        steps += model_requests(place, anonymous, is_anonymous=True)
        ids["model"] = place.reference("models", anonymous.name, "1")
    if isinstance(deployment.code, Local):
        steps += upload(place, deployment.code)
        body = {
            "properties": {
                "codeUri": f"{place.files_url}/{deployment.code.path}",
                "isAnonymous": True,
            }
        }
        steps.append(request("PUT", f"codes/{place.upload}/versions/1", body))
        ids["code"] = place.reference("codes", place.upload, "1")
    if isinstance(deployment.environment, Packages):
        name = f"{place.upload}-environment"
        context = deployment.environment.build
        steps += upload(place, context) if context else []
        uri = f"{place.files_url}/{context.path}" if context else ""
        body = environment_body(deployment.environment, is_anonymous=True, context_uri=uri)
        steps.append(request("PUT", f"environments/{name}/versions/1", body))
        ids["environment"] = place.reference("environments", name, "1")
    return [*steps, request("PUT", path, deployment_body(deployment, ids))]


def deployment_body(deployment: Deployment, ids: Mapping[str, str]) -> dict[str, Any]:
    """In Azure's REST words; `ids` are of what was registered without a name."""
    properties = {
        "endpointComputeType": "Managed",
        "description": deployment.description,
        "properties": dict(deployment.properties),
        "model": _reference(deployment.model, ids.get("model")),
        "modelMountPath": deployment.model_mount_path,
        "environmentId": _reference(deployment.environment, ids.get("environment")),
        "codeConfiguration": _rest_code(deployment, ids),
        "environmentVariables": dict(deployment.environment_variables),
        "instanceType": deployment.instance_type,
        "appInsightsEnabled": deployment.app_insights_enabled,
        "scaleSettings": {"scaleType": "Default"},
        "requestSettings": {
            "requestTimeout": milliseconds(deployment.request_timeout_ms),
            "maxConcurrentRequestsPerInstance": deployment.max_concurrent_requests_per_instance,
            "maxQueueWait": milliseconds(deployment.max_queue_wait_ms),
        },
        "livenessProbe": _rest_probe(deployment.liveness_probe),
        "readinessProbe": _rest_probe(deployment.readiness_probe),
        "startupProbe": _rest_probe(deployment.startup_probe),
        "egressPublicNetworkAccess": _egress(deployment).capitalize(),
        "dataCollector": _rest_collector(deployment.data_collector),
    }
    return {
        "location": "local",
        "tags": dict(deployment.tags),
        "sku": {"name": "Default", "capacity": deployment.instance_count},
        "properties": without_empty(properties),
    }


def context_of(deployment: Deployment) -> Local | None:
    """The build context that goes with it."""
    wanted = deployment.environment
    return wanted.build if isinstance(wanted, Packages) else None


def differing(deployment: Deployment, current: Deployment) -> set[str]:
    """Names of the fields that are to change."""
    return {
        item.name
        for item in fields(Deployment)
        if getattr(deployment, item.name) != getattr(current, item.name)
    }


def deployment_path(deployment: Deployment) -> str:
    return f"onlineEndpoints/{segment(deployment.endpoint)}/deployments/{segment(deployment.name)}"


def milliseconds(count: int) -> str:
    """As an ISO 8601 duration: 5000 → `PT5S`, 500 → `PT0.5S`."""
    return f"PT{count / 1000:.3f}".rstrip("0").rstrip(".") + "S"


def _egress(deployment: Deployment) -> str:
    """Only where it is not what it usually is."""
    chosen = deployment.egress_public_network_access
    return chosen if chosen != "enabled" else ""


def _request_settings(deployment: Deployment) -> dict[str, int]:
    return {name: getattr(deployment, name) for name in REQUEST_SETTINGS}


def _code(deployment: Deployment) -> dict[str, str]:
    code = deployment.code
    if code is None:
        return {}
    path = local_path(code) if isinstance(code, Local) else code
    return {"code": path, "scoring_script": deployment.scoring_script}


def _yaml_model(model: str | Local | None) -> Any:
    return {"path": local_path(model)} if isinstance(model, Local) else model


def _yaml_environment(environment: str | Packages | None) -> Any:
    if not isinstance(environment, Packages):
        return environment
    build = {"path": local_path(environment.build)} if environment.build else None
    facts = {
        "image": "" if build else environment.image,
        "build": build,
        "conda_file": environment.conda,
        "inference_config": dict(environment.routes),
    }
    return without_empty(facts)


def _python_model(model: str | Local | None) -> Any:
    return Entity("Model", {"path": model.path}) if isinstance(model, Local) else model


def _python_code(deployment: Deployment) -> Entity | None:
    code = deployment.code
    if code is None:
        return None
    path = code.path if isinstance(code, Local) else code.removeprefix("azureml:")
    return Entity("CodeConfiguration", {"code": path, "scoring_script": deployment.scoring_script})


def _python_environment(environment: str | Packages | None) -> Any:
    if isinstance(environment, Packages):
        build = environment.build
        facts = {
            "image": "" if build else environment.image,
            "build": Entity("BuildContext", {"path": build.path}) if build else None,
            "conda_file": environment.conda,
            "inference_config": dict(environment.routes),
        }
        return Entity("Environment", without_empty(facts))
    return environment


def _python_probe(probe: Mapping[str, int]) -> Entity | None:
    return Entity("ProbeSettings", dict(probe)) if probe else None


def _rest_probe(probe: Mapping[str, int]) -> dict[str, Any]:
    return {
        PROBE_WORDS[name]: f"PT{value}S" if name in TIMES else value
        for name, value in probe.items()
    }


def _rest_code(deployment: Deployment, ids: Mapping[str, str]) -> dict[str, str]:
    reference = _reference(deployment.code, ids.get("code"))
    if not reference:
        return {}
    return {"codeId": reference, "scoringScript": deployment.scoring_script}


def _reference(value: object, registered: str | None) -> str | None:
    return value if isinstance(value, str) else registered


def _yaml_collector(collector: Mapping[str, Any]) -> dict[str, Any]:
    collections = {
        name: {"enabled": str(bool(item.get("enabled")))}
        for name, item in collector.get("collections", {}).items()
    }
    if not collections:
        return {}
    return {"collections": collections, "rolling_rate": collector.get("rolling_rate", "hour")}


def _rest_collector(collector: Mapping[str, Any]) -> dict[str, Any]:
    collections = {
        name: {
            "dataCollectionMode": "Enabled" if item.get("enabled") else "Disabled",
            "samplingRate": item.get("sampling_rate", 1.0),
        }
        for name, item in collector.get("collections", {}).items()
    }
    if not collections:
        return {}
    rate = str(collector.get("rolling_rate", "hour")).capitalize()
    return {"collections": collections, "rollingRate": rate}
