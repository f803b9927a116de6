"""Batch deployments: read and written (wire 13.2); what they say is kept, and checked, until jobs run it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from api import references
from api.arm import OWN_PROPERTIES, ArmView, Json, page, system_data, type_of, word_of
from api.bodies import Body, iso_duration
from api.online_deployments import HIDDEN
from api.operations import Ticket, started
from deployments.batch import (
    create_batch_deployment,
    delete_batch_deployment,
    spec_of,
    update_batch_deployment,
    with_facts,
)
from deployments.batch_specs import DEFAULT_FILE, BatchDeploymentSpec
from deployments.models import BatchDeployment
from endpoints.batch import get_batch_endpoint
from workspaces import access
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import User, Workspace

READ, WRITE = "batchEndpoints/deployments/read", "batchEndpoints/deployments/write"
OUTPUT_ACTIONS: dict[str, str] = {
    "AppendRow": BatchDeployment.OutputAction.APPEND_ROW,
    "SummaryOnly": BatchDeployment.OutputAction.SUMMARY_ONLY,
}
LEVELS: dict[str, str] = {
    "Info": BatchDeployment.LoggingLevel.INFO,
    "Warning": BatchDeployment.LoggingLevel.WARNING,
    "Debug": BatchDeployment.LoggingLevel.DEBUG,
}
CONFIGURATIONS: dict[str, str] = {
    "Model": BatchDeployment.Type.MODEL,
    "PipelineComponent": BatchDeployment.Type.PIPELINE,
}
# Azure keeps the settings of a pipeline as texts, some under a longer name.
LONG_PREFIX = "componentdeployment.settings."
TRUTH = {"true": True, "false": False}
FLAGS = ("continue_on_step_failure", "force_rerun")


class BatchDeploymentList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, endpoint: str) -> Response:
        parent = get_batch_endpoint(self.workspace, endpoint)
        shows_values = access.role_may(self.role, WRITE)
        return page(
            request,
            with_facts(parent.deployments.all()),
            lambda row: present(row, shows_values=shows_values),
        )


class BatchDeploymentDetail(ArmView):
    actions = {
        "GET": READ,
        "PUT": WRITE,
        "PATCH": WRITE,
        "DELETE": "batchEndpoints/deployments/delete",
    }

    def get(self, request: Request, endpoint: str, deployment: str) -> Response:
        found = get_batch_deployment(self.workspace, endpoint, deployment)
        shows_values = access.role_may(self.role, WRITE)
        return Response(present(found, shows_values=shows_values))

    def put(self, request: Request, endpoint: str, deployment: str) -> Response:
        """The whole wish; the same again changes nothing."""
        parent = get_batch_endpoint(self.workspace, endpoint)
        current = _find(self.workspace, parent.name, deployment)
        name = current.name if current else deployment
        base = BatchDeploymentSpec(name=name)
        wanted = parse(self.workspace, self.body(), base, by=self.caller)
        if current is None:
            try:
                made = create_batch_deployment(parent, wanted, by=self.caller)
            except Conflict:
                # The same request may have come twice at once; then the other one made it.
                current = _find(self.workspace, parent.name, deployment)
                if current is None:
                    raise
            else:
                return self._written(made, status=201)
        return self._written(update_batch_deployment(current, wanted, by=self.caller))

    def patch(self, request: Request, endpoint: str, deployment: str) -> Response:
        """What the body mentions; tags and variables key by key."""
        current = get_batch_deployment(self.workspace, endpoint, deployment)
        base = spec_of(current)
        wanted = parse(self.workspace, self.body(), base, by=self.caller, merges=True)
        return self._written(update_batch_deployment(current, wanted, by=self.caller))

    def delete(self, request: Request, endpoint: str, deployment: str) -> Response:
        current = _find(self.workspace, endpoint, deployment)
        if current is None:
            return Response(status=204)
        delete_batch_deployment(current, by=self.caller)
        ticket = Ticket("batch_deployment", is_delete=True, pk=current.pk)
        return started(request, self.workspace, ticket, None, status=202)

    def _written(self, deployment: BatchDeployment, *, status: int = 200) -> Response:
        fresh = with_facts(BatchDeployment.objects.filter(pk=deployment.pk)).get()
        ticket = Ticket("batch_deployment", is_delete=False, pk=fresh.pk)
        told = present(fresh, shows_values=True)
        return started(self.request, self.workspace, ticket, told, status=status)


def get_batch_deployment(workspace: Workspace, endpoint: str, name: str) -> BatchDeployment:
    """The deployment of that name, without regard to case, or `NotFound`."""
    parent = get_batch_endpoint(workspace, endpoint)
    found = _find(workspace, parent.name, name)
    if found is None:
        raise NotFound(
            f"Batch endpoint '{parent.name}' has no deployment '{name}'.", target="deployment"
        )
    return found


def parse(
    workspace: Workspace,
    values: Mapping[str, Any],
    base: BatchDeploymentSpec,
    *,
    by: User,
    merges: bool = False,
) -> BatchDeploymentSpec:
    """The wish that a body states; what it does not mention is as in `base`."""
    body = Body(values)
    properties = body.section("properties").without("properties", OWN_PROPERTIES)
    code = properties.section("codeConfiguration")
    configuration = properties.section("deploymentConfiguration")
    read = Body.merged_texts if merges else Body.texts
    is_pipeline = configuration.choice(
        "deploymentConfigurationType", CONFIGURATIONS, base.type
    ) == (BatchDeployment.Type.PIPELINE)
    facts: dict[str, Any] = {
        "name": base.name,
        "type": BatchDeployment.Type.PIPELINE if is_pipeline else BatchDeployment.Type.MODEL,
        "tags": read(body, "tags", base.tags),
        "description": properties.text("description", base.description),
        "properties": read(properties, "properties", base.properties),
        "scoring_script": code.text("scoringScript", base.scoring_script, longest=500),
        "environment_variables": read(
            properties, "environmentVariables", base.environment_variables
        ),
        **_settings(properties, base),
        **_assets(workspace, properties, code, base, by=by),
    }
    facts["compute"] = base.compute
    compute = properties.text("compute", longest=2000)
    if compute:
        facts["compute"] = properties.run(
            lambda: references.compute_name(workspace, compute, target="properties.compute"), ""
        )
    facts["component"], facts["pipeline_settings"] = base.component, base.pipeline_settings
    if is_pipeline:
        facts["component"] = _component(workspace, configuration, base)
        settings = _pipeline_settings(workspace, configuration)
        facts["pipeline_settings"] = {**base.pipeline_settings, **settings} if merges else settings
    body.finish()
    return BatchDeploymentSpec(**facts)


def present(deployment: BatchDeployment, *, shows_values: bool) -> Json:
    """`shows_values`: whether environment variables are told in full, to those who could change them."""
    endpoint = deployment.endpoint
    told: Json = {
        "description": deployment.description,
        "properties": dict(deployment.properties),
        "provisioningState": "Succeeded",
    }
    is_pipeline = deployment.type == BatchDeployment.Type.PIPELINE
    told |= (
        _present_pipeline(endpoint.workspace, deployment)
        if is_pipeline
        else _present_model(endpoint.workspace, deployment, shows_values)
    )
    return {
        "id": deployment.arm_id,
        "name": deployment.name,
        "type": type_of("batchEndpoints/deployments"),
        "location": endpoint.location,
        "tags": deployment.tags,
        "properties": told,
        "systemData": system_data(deployment),
    }


def _settings(properties: Body, base: BatchDeploymentSpec) -> Json:
    retries = properties.section("retrySettings")
    resources = properties.section("resources")
    timeout = retries.duration("timeout", timedelta(seconds=base.timeout_seconds))
    action = properties.choice("outputAction", OUTPUT_ACTIONS, base.output_action)
    is_summary = action == BatchDeployment.OutputAction.SUMMARY_ONLY
    was_summary = base.output_action == BatchDeployment.OutputAction.SUMMARY_ONLY
    # Without a word on it, the name goes and comes back with the action.
    name = "" if is_summary else DEFAULT_FILE if was_summary else base.output_file_name
    return {
        "instance_count": resources.whole("instanceCount", base.instance_count),
        "max_concurrency_per_instance": properties.whole(
            "maxConcurrencyPerInstance", base.max_concurrency_per_instance
        ),
        "mini_batch_size": properties.whole("miniBatchSize", base.mini_batch_size),
        "error_threshold": properties.whole("errorThreshold", base.error_threshold),
        "max_retries": retries.whole("maxRetries", base.max_retries),
        "timeout_seconds": round(timeout / timedelta(seconds=1)),
        "logging_level": properties.choice("loggingLevel", LEVELS, base.logging_level),
        "output_action": action,
        "output_file_name": properties.text("outputFileName", name, longest=255),
    }


def _assets(
    workspace: Workspace,
    properties: Body,
    code: Body,
    base: BatchDeploymentSpec,
    *,
    by: User,
) -> Json:
    section = properties.section("model")
    section.choice("referenceType", {"Id": "id"}, "id")
    model = section.text("assetId", longest=2000)
    code_reference = code.text("codeId", longest=2000)
    environment = properties.text("environmentId", longest=2000)
    found: Json = {"model": base.model, "code": base.code, "environment": base.environment}
    if model:
        target = "properties.model.assetId"
        found["model"] = properties.run(
            lambda: references.find_model(workspace, model, target=target), None
        )
    if code_reference:
        target_of_code = "properties.codeConfiguration.codeId"
        found["code"] = properties.run(
            lambda: references.find_code(workspace, code_reference, target=target_of_code), None
        )
    if environment:
        target_of_environment = "properties.environmentId"
        found["environment"] = properties.run(
            lambda: references.find_environment(
                workspace, environment, target=target_of_environment, by=by
            ),
            None,
        )
    return found


def _component(workspace: Workspace, configuration: Body, base: BatchDeploymentSpec) -> Any:
    reference = configuration.section("componentId").text("assetId", longest=2000)
    if not reference:
        return base.component
    target = "properties.deploymentConfiguration.componentId.assetId"
    return configuration.run(
        lambda: references.find_component(workspace, reference, target=target), None
    )


def _pipeline_settings(workspace: Workspace, configuration: Body) -> Json:
    """In our names and types; the compute by its name."""
    found: Json = {}
    for key, value in configuration.mapping("settings", {}).items():
        name = key.lower().removeprefix(LONG_PREFIX)
        target = f"properties.deploymentConfiguration.settings.{key[:60]}"
        if value is None:
            continue
        if name in FLAGS:
            truth = value if isinstance(value, bool) else TRUTH.get(str(value).lower())
            if truth is None:
                message = f"{target} is {str(value)[:60]!r}. It must be true or false."
                configuration.errors.append(UserError(message, target=target))
            else:
                found[name] = truth
        elif not isinstance(value, str):
            message = f"{target} is {str(value)[:60]!r}. It must be a text."
            configuration.errors.append(UserError(message, target=target))
        elif name == "default_compute":
            found[name] = configuration.run(
                lambda given=value, place=target: references.compute_name(  # type: ignore[misc]
                    workspace, given, target=place
                ),
                "",
            )
        else:
            found[name] = value
    return found


def _present_model(workspace: Workspace, row: BatchDeployment, shows_values: bool) -> Json:
    variables = row.environment_variables
    told: Json = {
        "compute": f"{workspace.arm_id}/computes/{row.compute}",
        "resources": {"instanceCount": row.instance_count, "properties": {}},
        "environmentVariables": variables if shows_values else dict.fromkeys(variables, HIDDEN),
        "maxConcurrencyPerInstance": row.max_concurrency_per_instance,
        "miniBatchSize": row.mini_batch_size,
        "errorThreshold": row.error_threshold,
        "loggingLevel": word_of(LEVELS, row.logging_level),
        "outputAction": word_of(OUTPUT_ACTIONS, row.output_action),
        "retrySettings": {
            "maxRetries": row.max_retries,
            "timeout": iso_duration(timedelta(seconds=row.timeout_seconds)),
        },
    }
    if row.output_file_name:
        told["outputFileName"] = row.output_file_name
    if row.model_version is not None:
        asset_id = references.model_id(workspace, row.model_version)
        told["model"] = {"referenceType": "Id", "assetId": asset_id}
    if row.environment_version is not None:
        told["environmentId"] = references.environment_id(workspace, row.environment_version)
    if row.code_version is not None:
        told["codeConfiguration"] = {
            "codeId": references.code_id(workspace, row.code_version),
            "scoringScript": row.scoring_script,
        }
    return told


def _present_pipeline(workspace: Workspace, row: BatchDeployment) -> Json:
    settings = {name: str(value) for name, value in row.pipeline_settings.items()}
    configuration: Json = {
        "deploymentConfigurationType": "PipelineComponent",
        "settings": settings,
    }
    if row.component_version is not None:
        asset_id = references.component_id(workspace, row.component_version)
        configuration["componentId"] = {"referenceType": "Id", "assetId": asset_id}
    return {"deploymentConfiguration": configuration}


def _find(workspace: Workspace, endpoint: str, name: str) -> BatchDeployment | None:
    rows = BatchDeployment.objects.filter(
        endpoint__workspace=workspace, endpoint__name__iexact=endpoint, name__iexact=name
    )
    return with_facts(rows).first()
