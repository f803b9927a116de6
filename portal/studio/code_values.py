"""From forms and rows to the plain values that `as_code` writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml
from django.forms import Form
from django.http import HttpRequest

from deployments.changes import spec_of
from deployments.environments.amending import as_conda
from deployments.environments.specification import translate
from deployments.models import PROBE_DEFAULTS, OnlineDeployment
from deployments.specs import DeploymentSpec
from deployments.staging import environment_spec_of
from endpoints.models import OnlineEndpoint
from portal.studio.as_code import changes, computes
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import IMAGE, Deployment, Endpoint, Local, Model, Packages
from portal.studio.deployment_form import DeploymentForm, differing_probe, routes_of
from portal.studio.intake import paths_of
from workspaces import catalog, plain_yaml
from workspaces.computes import ComputeSpec
from workspaces.errors import UserError
from workspaces.models import Compute as ComputeRow
from workspaces.models import EnvironmentVersion

REGISTRY = "azureml://registries/azureml/environments/{name}/labels/latest"
SOURCE = "src"
"""The folder of a script that was typed in."""
CONTEXT = "context"
"""The folder of a Dockerfile that was typed in."""


def endpoint_of(row: OnlineEndpoint) -> Endpoint:
    return Endpoint(
        row.name,
        row.auth_mode,
        row.description,
        row.tags,
        row.properties,
        row.traffic,
        row.mirror_traffic,
        row.compute_name,
    )


def deployment_of(place: Place, endpoint: str, spec: DeploymentSpec) -> Deployment:
    """What exists: everything by reference, so that the code needs no file."""
    code = spec.code
    return Deployment(
        endpoint=endpoint,
        name=spec.name,
        model=_model_of(place, spec),
        code=place.reference("codes", code.code.name, code.version) if code else None,
        scoring_script=spec.scoring_script,
        environment=environment_reference(place, spec.environment),
        environment_variables=spec.environment_variables,
        instance_type=spec.instance_type,
        instance_count=spec.instance_count,
        description=spec.description,
        tags=spec.tags,
        app_insights_enabled=spec.app_insights_enabled,
        request_timeout_ms=spec.request_timeout_ms,
        max_concurrent_requests_per_instance=spec.max_concurrent_requests_per_instance,
        max_queue_wait_ms=spec.max_queue_wait_ms,
        liveness_probe=spec.liveness_probe,
        readiness_probe=spec.readiness_probe,
        startup_probe=spec.startup_probe,
        properties=spec.properties,
        model_mount_path=spec.model_mount_path,
        egress_public_network_access=spec.egress_public_network_access,
        data_collector=spec.data_collector,
    )


def delete_samples(place: Place, deployment: OnlineDeployment) -> list[dict[str, str]]:
    """The dialog “Delete deployment” as code; nothing for one that is going already."""
    if deployment.revision is None:
        return []
    values = deployment_of(place, deployment.endpoint.name, spec_of(deployment))
    return changes.delete(place, without_secrets(values)).samples(place)


def restore_samples(
    place: Place, endpoint: str, former: DeploymentSpec, current: DeploymentSpec
) -> list[dict[str, str]]:
    """The dialog “Restore revision” as code: an update to what it was. Azure has no revisions."""
    wanted, now = deployment_of(place, endpoint, former), deployment_of(place, endpoint, current)
    return changes.update(place, wanted, now).samples(place)


def scale_samples(place: Place, deployment: OnlineDeployment) -> list[dict[str, str]]:
    """One instance more, as code; its YAML would be the whole wish, which the page for editing has."""
    if deployment.revision is None:
        return []
    now = deployment_of(place, deployment.endpoint.name, spec_of(deployment))
    more = replace(now, instance_count=now.instance_count + 1)
    return replace(changes.update(place, more, now), yaml={}).samples(place)


def without_secrets(deployment: Deployment) -> Deployment:
    """Environment variables by name alone: for code that nobody asked for."""
    return replace(
        deployment, environment_variables=dict.fromkeys(deployment.environment_variables, "…")
    )


def compute_values(spec: ComputeSpec) -> computes.Compute:
    return computes.Compute(
        spec.name,
        spec.kind == ComputeRow.Kind.KUBERNETES,
        spec.instance_type,
        spec.tier,
        spec.min_instances,
        spec.max_instances,
        spec.idle_seconds,
        spec.namespace,
        spec.resource_id,
        spec.description,
        spec.tags,
        spec.runtime,
    )


def typed_endpoint(form: Form) -> Endpoint:
    """What stands in the first step of the wizard, right or not."""
    values = Typed(form)
    return Endpoint(
        values.text("endpoint_name") or "my-endpoint",
        values.text("auth_mode"),
        values.text("endpoint_description"),
        values["endpoint_tags"] or {},
        compute=values.get("compute") or "",
    )


def typed_deployment(
    request: HttpRequest,
    place: Place,
    form: DeploymentForm,
    endpoint: str,
    current: DeploymentSpec | None = None,
) -> tuple[Deployment, Model | None]:
    """What stands in the form, right or not, and the model that is to be registered by a name."""
    values = Typed(form)
    kept = deployment_of(place, endpoint, current) if current else None
    model, register = _typed_model(request, values, kept)
    script = values.text("scoring_script").strip() or "score.py"
    typed = Deployment(
        endpoint=endpoint,
        name=current.name if current else values.text("name") or "blue",
        model=model,
        code=_typed_code(request, values, kept, script),
        scoring_script=script,
        environment=_typed_environment(request, values, kept),
        environment_variables=values["environment_variables"] or {},
        instance_type=values.text("instance_type"),
        instance_count=values["instance_count"] or 1,
        description=values.text("description"),
        tags=values["tags"] or {},
        app_insights_enabled=bool(values["app_insights_enabled"]),
        request_timeout_ms=values["request_timeout_ms"] or 5000,
        max_concurrent_requests_per_instance=values["max_concurrent_requests_per_instance"] or 1,
        max_queue_wait_ms=500
        if values["max_queue_wait_ms"] is None
        else values["max_queue_wait_ms"],
        liveness_probe=values.probe("liveness_probe"),
        readiness_probe=values.probe("readiness_probe"),
        startup_probe=values.probe("startup_probe"),
        properties=kept.properties if kept else {},
        model_mount_path=kept.model_mount_path if kept else "",
        egress_public_network_access=kept.egress_public_network_access if kept else "enabled",
        data_collector=kept.data_collector if kept else {},
    )
    return typed, register


def takes_all_traffic(form: DeploymentForm) -> bool:
    return bool(Typed(form)["all_traffic"])


def uploaded(paths: Sequence[str], *, folder: str) -> Local:
    """Files that were chosen, as they lie on the person's machine; `folder` where nothing names theirs."""
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        top = tops.pop()
        return Local(top, files=tuple(path.removeprefix(f"{top}/") for path in paths))
    if len(paths) != 1:
        return Local(folder, files=tuple(paths))
    if paths[0].lower().endswith(".zip"):
        # The studio unpacks it; elsewhere that is done before.
        return Local(paths[0][:-4] or folder)
    return Local(paths[0], is_folder=False)


def packages_of(environment: EnvironmentVersion) -> Packages:
    """An image with a conda file; pip requirements become one, for Azure knows no other way."""
    image = environment.image or IMAGE
    if environment.requirements:
        try:
            found = translate(environment_spec_of(environment))
        except UserError:
            return Packages(None, image)
        text = as_conda(found.requirements, found.python)
        return Packages(_mapping(text), image)
    return Packages(_mapping(environment.conda_file), image)


class Typed(dict[str, Any]):
    """The fields of a form as far as they can be read, and what the form begins with for the others."""

    def __init__(self, form: Form) -> None:
        first = {
            name: form.get_initial_for_field(field, name) for name, field in form.fields.items()
        }
        # What is wrong has no place in `cleaned_data`, even where the whole form is refused.
        read = {**form.cleaned_data} if form.is_bound and form.is_valid() is not None else {}
        super().__init__(first | read)

    def text(self, name: str) -> str:
        return str(self[name] or "").replace("\r\n", "\n")

    def probe(self, name: str) -> dict[str, int]:
        """What differs from Azure's defaults."""
        return differing_probe(name, {key: self[f"{name}_{key}"] for key in PROBE_DEFAULTS})


def _typed_model(
    request: HttpRequest, values: Typed, kept: Deployment | None
) -> tuple[str | Local | None, Model | None]:
    source = values["model_source"]
    if source == "keep" and kept:
        return kept.model, None
    if source == "registered":
        return f"azureml:{values.text('model_version') or 'my-model:1'}", None
    if source != "upload":
        return None, None
    files = uploaded(paths_of(request, "model_files"), folder="model")
    name = values.text("model_name").strip()
    if not name:
        return files, None
    return f"azureml:{name}@latest", Model(name, files)


def _typed_code(
    request: HttpRequest, values: Typed, kept: Deployment | None, script: str
) -> str | Local | None:
    source = values["code_source"]
    if source == "none":
        return None
    if source == "keep" and kept:
        return kept.code
    if source == "upload":
        found = uploaded(paths_of(request, "code_files"), folder=SOURCE)
        # Code is always a folder.
        return found if found.is_folder else Local(SOURCE, files=(found.path,))
    return Local(SOURCE, texts={script: values.text("script")})


def _typed_environment(
    request: HttpRequest, values: Typed, kept: Deployment | None
) -> str | Packages | None:
    source = values["environment_source"]
    if source == "image":
        conda = _mapping(values.text("image_conda_file"))
        return Packages(conda, values.text("image").strip() or IMAGE, routes=routes_of(values))
    if source == "dockerfile":
        return Packages(build=_typed_context(request, values), routes=routes_of(values))
    if source == "model":
        return None
    if source == "keep" and kept:
        return kept.environment
    if source == "registered":
        return f"azureml:{values.text('environment_version') or 'my-environment:1'}"
    if source == "curated":
        return REGISTRY.format(name=values.text("curated"))
    facts = {source: values.text("requirements")} if source == "requirements" else {}
    if not facts:
        facts = {"conda_file": values.text("conda_file")}
    return packages_of(catalog.unsaved_environment(**facts))


def _typed_context(request: HttpRequest, values: Typed) -> Local:
    """The chosen folder as it lies there; a Dockerfile that was typed is written first."""
    paths = paths_of(request, "context_files")
    if paths:
        return uploaded(paths, folder=CONTEXT)
    return Local(CONTEXT, texts={"Dockerfile": values.text("dockerfile")})


def _model_of(place: Place, spec: DeploymentSpec) -> str | None:
    model = spec.model
    if model is None:
        return None
    if model.model.is_anonymous:
        return place.reference("models", model.model.name, model.version)
    return f"azureml:{model}"


def environment_reference(place: Place, wanted: EnvironmentVersion | None) -> str | None:
    if wanted is None:
        return None
    if not wanted.environment.is_anonymous:
        return f"azureml:{wanted}"
    if wanted.curated:
        return REGISTRY.format(name=wanted.curated)
    return place.reference("environments", wanted.environment.name, wanted.version)


def _mapping(text: str) -> Mapping[str, Any] | None:
    """A conda file that is being typed may be anything."""
    try:
        found = plain_yaml.load(text) if text.strip() else None
    except (UserError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, Mapping) else None
