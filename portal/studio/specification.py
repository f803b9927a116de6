"""From a valid form and its files to a `DeploymentSpec`, and from a spec back to what the form shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from deployments.containers import routes
from deployments.models import PROBE_DEFAULTS
from deployments.specs import LARGEST_SCRIPT_BYTES, DeploymentSpec
from portal.studio import intake
from portal.studio.deployment_form import STARTUP, TEMPLATE_SCRIPT, DeploymentForm
from portal.studio.intake import Handed
from workspaces import catalog, storage
from workspaces.errors import NotFound, UserError
from workspaces.models import CodeVersion, EnvironmentVersion, ModelVersion, User

# What the form does not show stays as it is on an edit.
KEPT = (
    "type",
    "properties",
    "model_mount_path",
    "data_collector",
    "egress_public_network_access",
    "private_network_connection",
    "scale_type",
)
ENVIRONMENT_FIELDS = {"curated": "curated", "conda": "conda_file", "requirements": "requirements"}
DOCKERFILE = "Dockerfile"


@dataclass(frozen=True)
class Files:
    """What was handed in, stored as content already; nothing is registered yet."""

    model: Handed | None = None
    code: Handed | None = None
    context: Handed | None = None
    later: tuple[str, ...] = ()
    """Paths of model files that were chosen, and are sent with "Create" only, for they may be large."""


def files_of(
    request: HttpRequest,
    form: DeploymentForm,
    current: DeploymentSpec | None = None,
    *,
    may_come_later: bool = False,
) -> Files:
    """Take the files of a valid form in; may take long, so call it outside of any transaction."""
    data = form.cleaned_data
    model = code = None
    if data["model_source"] == "upload":
        model = intake.take(request, "model_files", leaf="model")
    if data["code_source"] == "upload":
        code = intake.take(request, "code_files", leaf="code")
    elif data["code_source"] == "write":
        code = _written(data["script"], script_name(form), current)
    is_later = may_come_later and model is None and data["model_source"] == "upload"
    context = _context(request, form) if data["environment_source"] == "dockerfile" else None
    later = tuple(intake.paths_of(request, "model_files")) if is_later else ()
    return Files(model, code, context, later)


def script_name(form: DeploymentForm) -> str:
    return form.cleaned_data["scoring_script"].strip() or "score.py"


def specification(
    form: DeploymentForm, files: Files, *, by: User, current: DeploymentSpec | None = None
) -> DeploymentSpec:
    """The spec that a valid form describes; inline assets are registered anonymously on the way (facts 1).

    Call it inside the transaction that makes or changes the deployment, so that a refusal registers nothing.
    """
    data = form.cleaned_data
    kept = {name: getattr(current, name) for name in KEPT} if current else {}
    code, script = _code(form, files, current, by)
    return DeploymentSpec(
        name=current.name if current else data["name"],
        description=data["description"].replace("\r\n", "\n"),
        tags=data["tags"],
        model=_model(form, files, current, by),
        code=code,
        scoring_script=script,
        environment=_environment(form, files, current, by),
        environment_variables=data["environment_variables"],
        instance_type=data["instance_type"],
        instance_count=data["instance_count"],
        request_timeout_ms=data["request_timeout_ms"],
        max_concurrent_requests_per_instance=data["max_concurrent_requests_per_instance"],
        max_queue_wait_ms=data["max_queue_wait_ms"],
        liveness_probe=form.probe("liveness_probe"),
        readiness_probe=form.probe("readiness_probe"),
        startup_probe=form.probe(STARTUP),
        app_insights_enabled=data["app_insights_enabled"],
        **kept,
    )


def initial_of(spec: DeploymentSpec) -> dict[str, Any]:
    """What the form shows for a deployment that exists."""
    environment = spec.environment
    shown: dict[str, Any] = {
        name: getattr(spec, name)
        for name in DeploymentForm.base_fields
        if name in DeploymentSpec.__dataclass_fields__
    }
    shown |= {
        "model_source": "keep" if spec.model else "none",
        "model_version": str(spec.model) if spec.model else "",
        "code_source": "keep" if spec.code else "none",
        "script": script_text(spec) or TEMPLATE_SCRIPT,
        "environment_source": "keep" if environment else "conda" if spec.code else "model",
        "environment_version": str(environment) if environment else "",
    }
    for field in ENVIRONMENT_FIELDS.values():
        if environment is not None and getattr(environment, field):
            shown[field] = getattr(environment, field)
    if environment is not None:
        shown |= _container_of(environment)
    for probe in ("liveness_probe", "readiness_probe"):
        values = PROBE_DEFAULTS | getattr(spec, probe)
        shown |= {f"{probe}_{key}": value for key, value in values.items()}
    if spec.startup_probe:
        values = PROBE_DEFAULTS | spec.startup_probe
        shown |= {f"{STARTUP}_{key}": value for key, value in values.items()}
    return shown


def container_source(environment: EnvironmentVersion) -> str:
    """The choice of the form that says all of a container; empty where none does."""
    told = routes(environment)
    if len({told.port, told.liveness_port, told.readiness_port}) > 1:
        return ""
    if environment.build_context_hash:
        return "dockerfile" if _dockerfile_alone(environment) else ""
    return "image" if environment.image else ""


def _container_of(environment: EnvironmentVersion) -> dict[str, Any]:
    """The fields of an image or a Dockerfile, filled even while another choice stands."""
    shown: dict[str, Any] = {}
    if environment.image:
        shown |= {"image": environment.image, "image_conda_file": environment.conda_file}
    if environment.build_context_hash:
        text = _dockerfile_alone(environment)
        shown |= {"dockerfile": text} if text else {}
    if environment.inference_config:
        told = routes(environment)
        shown |= {
            "server_port": told.port,
            "scoring_path": told.scoring_path,
            "readiness_path": told.readiness_path,
            "liveness_path": told.liveness_path,
        }
    return shown


def _dockerfile_alone(environment: EnvironmentVersion) -> str:
    """The Dockerfile of a build context that has nothing else; empty for every other."""
    try:
        files = [entry.path for entry in storage.entries(environment.build_context_hash)]
        if files != [DOCKERFILE]:
            return ""
        limit = LARGEST_SCRIPT_BYTES
        return storage.read_file(environment.build_context_hash, DOCKERFILE, limit=limit).decode()
    except (NotFound, UnicodeDecodeError):
        return ""


def script_text(spec: DeploymentSpec) -> str:
    """The scoring script as text; empty when it is missing or no text."""
    if spec.code is None:
        return ""
    try:
        content = storage.read_file(
            spec.code.content_hash, spec.scoring_script, limit=LARGEST_SCRIPT_BYTES
        )
        return content.decode()
    except (NotFound, UnicodeDecodeError):
        return ""


def _written(text: str, script: str, current: DeploymentSpec | None) -> Handed:
    """The typed script as a folder; on an edit, beside the other files that are there."""
    if not text.strip():
        raise UserError(_("The scoring script is empty."), target="script")
    try:
        if current is None or current.code is None:
            return intake.take_text(text, script)
        return intake.take_changed(current.code.content_hash, script, text)
    except UserError as error:
        raise UserError(error.message, code=error.code, target="scoring_script") from error


def _code(
    form: DeploymentForm, files: Files, current: DeploymentSpec | None, by: User
) -> tuple[CodeVersion | None, str]:
    data, script = form.cleaned_data, script_name(form)
    if data["code_source"] == "none":
        return None, ""
    if data["code_source"] == "keep" and current is not None and current.code is not None:
        return current.code, script
    handed = files.code
    if handed is None:
        raise UserError(_("Choose the scoring script or its folder."), target="code_files")
    named = data["scoring_script"].strip()
    if not named and not handed.is_folder and data["code_source"] == "upload":
        script = handed.leaf
    return catalog.register_anonymous_code(form.workspace, handed.content, by=by), script


def _model(
    form: DeploymentForm, files: Files, current: DeploymentSpec | None, by: User
) -> ModelVersion | None:
    data = form.cleaned_data
    if data["model_source"] == "keep" and current is not None:
        return current.model
    if data["model_source"] == "none":
        return None
    if data["model_source"] == "registered":
        if not data["model_version"]:
            raise UserError(_("Choose a registered model, or upload one."), target="model_version")
        return catalog.resolve_model(form.workspace, data["model_version"])
    if data["code_source"] == "none":
        raise UserError(
            _(
                "A model that needs no script is registered first: under Models, with its type. Then choose it here."
            ),
            target="model_source",
        )
    handed = files.model
    if handed is None and files.later:
        return None
    if handed is None:
        raise UserError(_("Choose the model's file or folder."), target="model_files")
    facts: dict[str, Any] = {"leaf": handed.leaf, "is_folder": handed.is_folder, "by": by}
    name = data["model_name"].strip()
    if not name:
        return catalog.register_anonymous_model(form.workspace, handed.content, **facts)
    try:
        return catalog.register_model(form.workspace, name, handed.content, **facts)
    except UserError as error:
        field = "model_name" if error.target == "name" else error.target
        raise UserError(error.message, code=error.code, target=field) from error


def _context(request: HttpRequest, form: DeploymentForm) -> Handed | None:
    """The build context: the files that were chosen, and the Dockerfile that was typed, which wins."""
    chosen = intake.take(request, "context_files", leaf="context")
    typed = form.cleaned_data["dockerfile"]
    if not typed.strip():
        return chosen
    if chosen is None:
        return intake.take_text(typed, DOCKERFILE)
    return intake.take_changed(chosen.content.content_hash, DOCKERFILE, typed)


def _container(form: DeploymentForm, files: Files, by: User) -> EnvironmentVersion:
    """An image, or what a Dockerfile makes, named by nobody else."""
    data = form.cleaned_data
    facts: dict[str, Any] = {"inference_config": form.inference_config()}
    if data["environment_source"] == "image":
        if not data["image"].strip():
            raise UserError(_("Name the image."), target="image")
        facts |= {
            "image": data["image"].strip(),
            "conda_file": data["image_conda_file"].replace("\r\n", "\n").strip(),
        }
    else:
        if files.context is None:
            raise UserError(
                _("Write a Dockerfile, or choose the folder that has one."), target="dockerfile"
            )
        facts |= {
            "build_context_hash": files.context.content.content_hash,
            "dockerfile_path": DOCKERFILE,
        }
    return catalog.register_anonymous_environment(form.workspace, by=by, **facts)


def _environment(
    form: DeploymentForm, files: Files, current: DeploymentSpec | None, by: User
) -> EnvironmentVersion | None:
    data = form.cleaned_data
    source = data["environment_source"]
    if source == "keep" and current is not None:
        return current.environment
    if source == "model":
        if data["code_source"] != "none":
            raise UserError(
                _("A scoring script needs an environment: choose one, or name its packages."),
                target="environment_source",
            )
        return None
    if source == "registered":
        if not data["environment_version"]:
            raise UserError(_("Choose a registered environment."), target="environment_version")
        return catalog.resolve_environment(form.workspace, data["environment_version"])
    if source in ("image", "dockerfile"):
        return _container(form, files, by)
    field = ENVIRONMENT_FIELDS[source]
    text = data[field].replace("\r\n", "\n")
    if not text.strip():
        raise UserError(_("Say which packages the script needs."), target=field)
    return catalog.register_anonymous_environment(form.workspace, by=by, **{field: text})
