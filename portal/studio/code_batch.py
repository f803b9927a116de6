"""From the forms and rows of batch endpoints to the plain values that `as_code` writes down."""

from __future__ import annotations

from dataclasses import replace

from deployments.batch_specs import BatchDeploymentSpec
from deployments.models import BatchDeployment
from endpoints import models
from portal.studio.as_code import batch
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Local
from portal.studio.batch_form import (
    COPIED,
    CURATED,
    USUAL_SCRIPT,
    BatchDeploymentForm,
    BatchEndpointForm,
    script_of,
)
from portal.studio.code_part import place_of
from portal.studio.code_values import REGISTRY, SOURCE, Typed, environment_reference, uploaded
from portal.studio.intake import paths_of
from portal.studio.scope import StudioRequest

Endpoint = models.BatchEndpoint


def endpoint_code(
    request: StudioRequest, form: BatchEndpointForm, current: Endpoint | None = None
) -> Forms:
    """What stands in the form of an endpoint, right or not."""
    values = Typed(form)
    wanted = batch.BatchEndpoint(
        current.name if current else values.text("name") or "my-batch-endpoint",
        values.text("description"),
        values["tags"] or {},
        current.default_deployment if current else "",
    )
    return batch.write_endpoint(place_of(request), wanted, is_new=current is None)


def default_code(request: StudioRequest, endpoint: Endpoint, deployment: str) -> Forms:
    values = batch.BatchEndpoint(endpoint.name, endpoint.description, endpoint.tags)
    return batch.set_default(place_of(request), values, deployment)


def delete_code(request: StudioRequest, endpoint: Endpoint) -> Forms:
    values = batch.BatchEndpoint(endpoint.name, endpoint.description, endpoint.tags)
    return batch.delete_endpoint(place_of(request), values)


def deployment_code(
    request: StudioRequest,
    form: BatchDeploymentForm,
    endpoint: Endpoint,
    current: BatchDeploymentSpec | None = None,
) -> Forms:
    """What stands in the form of a deployment, right or not."""
    place, values = place_of(request), Typed(form)
    base = standing(place, endpoint, current) if current else None
    facts = {name: values[name] for name in COPIED if values[name] not in (None, "")}
    script = values.text("scoring_script").strip() or USUAL_SCRIPT
    chosen = paths_of(request, "code_files")
    if values["code_source"] == "upload" and len(chosen) == 1 and "/" not in chosen[0]:
        script = script_of(script, chosen[0])
    is_summary = values["output_action"] == "summary_only"
    wanted = replace(
        base or batch.BatchDeployment(endpoint.name, values.text("name") or "default"),
        **facts,
        model=_model(values, base),
        code=_code(request, values, base, script),
        scoring_script=script,
        environment=_environment(values, base),
        output_file_name="" if is_summary else values.text("output_file_name"),
        description=values.text("description"),
    )
    is_default = current is None and bool(values["is_default"])
    return batch.write_deployment(place, wanted, is_new=current is None, is_default=is_default)


def delete_deployment_code(
    request: StudioRequest, endpoint: Endpoint, current: BatchDeploymentSpec
) -> Forms:
    """Environment variables by name alone: nobody asked for their values."""
    place = place_of(request)
    values = standing(place, endpoint, current)
    hidden = dict.fromkeys(values.environment_variables, "…")
    forms = batch.delete_deployment(place, replace(values, environment_variables=hidden))
    # The YAML of a pipeline is another one, which the studio does not write.
    return forms if current.type == BatchDeployment.Type.MODEL else replace(forms, yaml={})


def standing(place: Place, endpoint: Endpoint, spec: BatchDeploymentSpec) -> batch.BatchDeployment:
    """What exists: everything by reference."""
    model, code = spec.model, spec.code
    reference = ""
    if model is not None:
        reference = f"azureml:{model}"
        if model.model.is_anonymous:
            reference = place.reference("models", model.model.name, model.version)
    return batch.BatchDeployment(
        endpoint=endpoint.name,
        name=spec.name,
        model=reference,
        code=place.reference("codes", code.code.name, code.version) if code else None,
        scoring_script=spec.scoring_script,
        environment=environment_reference(place, spec.environment) or "",
        output_file_name=spec.output_file_name,
        description=spec.description,
        properties=spec.properties,
        **{name: getattr(spec, name) for name in COPIED},
    )


def _model(values: Typed, base: batch.BatchDeployment | None) -> str:
    chosen = values.text("model_version")
    if chosen == "keep" and base:
        return base.model
    return f"azureml:{chosen or 'my-model:1'}"


def _code(
    request: StudioRequest, values: Typed, base: batch.BatchDeployment | None, script: str
) -> str | Local | None:
    source = values["code_source"]
    if source == "keep" and base:
        return base.code
    if source == "none":
        return None
    if source == "upload":
        found = uploaded(paths_of(request, "code_files"), folder=SOURCE)
        return found if found.is_folder else Local(SOURCE, files=(found.path,))
    return Local(SOURCE, texts={script: values.text("script")})


def _environment(values: Typed, base: batch.BatchDeployment | None) -> str:
    chosen = values.text("environment_version")
    if chosen == "keep" and base:
        return base.environment
    if chosen.startswith(CURATED):
        return REGISTRY.format(name=chosen.removeprefix(CURATED))
    return f"azureml:{chosen}" if chosen else ""
