"""The forms of batch endpoints and batch deployments, and what a valid one asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import forms
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deployments.batch_specs import DEFAULT_FILE, BatchDeploymentSpec
from deployments.environments.curated import curated_environments
from deployments.models import BatchDeployment
from portal.studio import intake
from portal.studio.deployment_form import PairsField
from workspaces import catalog
from workspaces.errors import UserError
from workspaces.models import (
    CodeVersion,
    EnvironmentVersion,
    ModelVersion,
    User,
    Workspace,
)

TEMPLATE = '''import os
from pathlib import Path


def init():
    """Called once in each worker process: load the model."""
    global model
    model = Path(os.environ["AZUREML_MODEL_DIR"])


def run(mini_batch):
    """Called with the paths of a few files; each row that is returned is a row of the output."""
    return [f"{Path(path).name} {Path(path).stat().st_size}" for path in mini_batch]
'''
CURATED = "curated:"
OutputAction = BatchDeployment.OutputAction
# Field of a spec → field of the form, where the names differ.
SHOWN_AS = {
    "model": "model_version",
    "environment": "environment_version",
    "environment.inference_config": "environment_version",
    "code_configuration": "code_source",
    "code_configuration.code": "code_source",
    "code_configuration.scoring_script": "scoring_script",
    "path": "code_source",
    "resources.instance_count": "instance_count",
    "settings.max_concurrency_per_instance": "max_concurrency_per_instance",
    "settings.mini_batch_size": "mini_batch_size",
    "settings.error_threshold": "error_threshold",
    "settings.retry_settings.max_retries": "max_retries",
    "settings.retry_settings.timeout": "timeout_seconds",
    "settings.logging_level": "logging_level",
    "settings.output_action": "output_action",
    "settings.output_file_name": "output_file_name",
    "deployments": "",
    "deployments_per_endpoint": "",
}
USUAL_SCRIPT = "score.py"
COPIED = (
    "tags",
    "environment_variables",
    "compute",
    "instance_count",
    "max_concurrency_per_instance",
    "mini_batch_size",
    "error_threshold",
    "max_retries",
    "timeout_seconds",
    "logging_level",
    "output_action",
)


class BatchEndpointForm(forms.Form):
    """The name is asked of a new endpoint only."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=32,
        help_text=gettext_lazy("3 to 32 letters, digits and dashes, beginning with a letter."),
    )
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = PairsField(
        label=gettext_lazy("Tags"),
        required=False,
        help_text=gettext_lazy("One on each line, as name=value."),
    )

    def __init__(self, *args: Any, is_new: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_new:
            del self.fields["name"]


class BatchDeploymentForm(forms.Form):
    """Everything a deployment of a model needs; an edited one may keep its code."""

    name = forms.CharField(label=gettext_lazy("Deployment name"), initial="default", max_length=32)
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = PairsField(
        label=gettext_lazy("Tags"),
        required=False,
        help_text=gettext_lazy("One on each line, as name=value."),
    )
    model_version = forms.CharField(label=gettext_lazy("Model"), widget=forms.Select)
    code_source = forms.ChoiceField(label=gettext_lazy("Scoring script"), initial="write")
    script = forms.CharField(
        label=gettext_lazy("Script"),
        required=False,
        strip=False,
        initial=TEMPLATE,
        widget=forms.Textarea,
    )
    scoring_script = forms.CharField(
        label=gettext_lazy("File with init() and run()"),
        required=False,
        initial=USUAL_SCRIPT,
        max_length=500,
    )
    environment_version = forms.CharField(
        label=gettext_lazy("Environment"), required=False, widget=forms.Select
    )
    environment_variables = PairsField(
        label=gettext_lazy("Environment variables"),
        required=False,
        help_text=gettext_lazy("One name=value a line. They are stored encrypted."),
    )
    compute = forms.CharField(label=gettext_lazy("Compute"), widget=forms.Select)
    instance_count = forms.IntegerField(label=gettext_lazy("Nodes of one job"), initial=1)
    max_concurrency_per_instance = forms.IntegerField(
        label=gettext_lazy("Workers on each node"), initial=1
    )
    mini_batch_size = forms.IntegerField(
        label=gettext_lazy("Mini batch size"),
        initial=10,
        help_text=gettext_lazy("Files handed to one call of run()."),
    )
    timeout_seconds = forms.IntegerField(
        label=gettext_lazy("Scoring timeout of a mini batch"), initial=30
    )
    max_retries = forms.IntegerField(label=gettext_lazy("Retries of a mini batch"), initial=3)
    error_threshold = forms.IntegerField(
        label=gettext_lazy("Error threshold"),
        initial=-1,
        help_text=gettext_lazy("Failed items that a job bears; -1 bears any number."),
    )
    output_action = forms.ChoiceField(
        label=gettext_lazy("Output action"),
        choices=[
            (OutputAction.APPEND_ROW, gettext_lazy("Append rows to one file")),
            (OutputAction.SUMMARY_ONLY, gettext_lazy("Summary only")),
        ],
    )
    output_file_name = forms.CharField(
        label=gettext_lazy("Output file name"), required=False, initial=DEFAULT_FILE
    )
    logging_level = forms.ChoiceField(
        label=gettext_lazy("Logging level"),
        choices=BatchDeployment.LoggingLevel.choices,
        initial=BatchDeployment.LoggingLevel.INFO,
    )
    is_default = forms.BooleanField(
        label=gettext_lazy("Make this deployment the default for batch jobs"), required=False
    )

    def __init__(
        self,
        *args: Any,
        workspace: Workspace,
        current: BatchDeploymentSpec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace
        self.current = current
        sources = [
            ("write", gettext_lazy("Write here")),
            ("upload", gettext_lazy("Upload")),
            ("none", gettext_lazy("None: an MLflow model")),
        ]
        if current is not None:
            del self.fields["name"], self.fields["is_default"]
            if current.code is not None:
                sources.insert(0, ("keep", gettext_lazy("Keep as it is")))
        code_source = self.fields["code_source"]
        assert isinstance(code_source, forms.ChoiceField)
        code_source.choices = sources
        models, environments = (
            _names(ModelVersion, "model", workspace),
            _names(EnvironmentVersion, "environment", workspace),
        )
        curated = [
            (f"{CURATED}{row.name}", f"{row.name} (curated)") for row in curated_environments()
        ]
        names = list(workspace.computes.values_list("name", flat=True))
        if current is not None and current.compute not in names:
            names.append(current.compute)
        self._choose("model_version", models, current and current.model)
        self._choose(
            "environment_version", [*environments, *curated], current and current.environment
        )
        self._choose("compute", [(name, name) for name in names if name], None)

    def _choose(self, name: str, choices: list[tuple[str, str]], today: object) -> None:
        """What may be chosen, and what is chosen today even if it is archived or has no name of its own."""
        kept = [("keep", _("Keep as it is"))] if today else []
        self.fields[name].widget.choices = [*kept, ("", _("Choose one")), *choices]


def initial_of(spec: BatchDeploymentSpec) -> dict[str, Any]:
    """What the form shows of a deployment that exists."""
    shown = {name: getattr(spec, name) for name in (*COPIED, "scoring_script", "description")}
    shown |= {
        "code_source": "keep" if spec.code else "none",
        "model_version": "keep" if spec.model else "",
        "environment_version": "keep" if spec.environment else "",
        "output_file_name": spec.output_file_name or DEFAULT_FILE,
    }
    return shown


def spec_from(form: BatchDeploymentForm, request: HttpRequest, *, by: User) -> BatchDeploymentSpec:
    """The spec that a valid form describes; code that is handed in is registered anonymously on the way."""
    data, current = form.cleaned_data, form.current
    base = current or BatchDeploymentSpec(name=data["name"])
    code, script = _code(form, request, by)
    is_summary = data["output_action"] == OutputAction.SUMMARY_ONLY
    return replace(
        base,
        **{name: data[name] for name in COPIED},
        **{
            "description": data["description"].replace("\r\n", "\n"),
            "model": _model(form),
            "code": code,
            "scoring_script": script,
            "environment": _environment(form, by),
            "output_file_name": "" if is_summary else data["output_file_name"],
        },
    )


def _model(form: BatchDeploymentForm) -> ModelVersion | None:
    chosen = form.cleaned_data["model_version"]
    if chosen == "keep" and form.current is not None:
        return form.current.model
    return catalog.resolve_model(form.workspace, chosen)


def _environment(form: BatchDeploymentForm, by: User) -> EnvironmentVersion | None:
    chosen = form.cleaned_data["environment_version"]
    if chosen == "keep" and form.current is not None:
        return form.current.environment
    if not chosen:
        return None
    if chosen.startswith(CURATED):
        known = {row.name for row in curated_environments()}
        name = chosen.removeprefix(CURATED)
        if name not in known:
            raise UserError(_("There is no such curated environment."), target="environment")
        return catalog.register_anonymous_environment(form.workspace, by=by, curated=name)
    return catalog.resolve_environment(form.workspace, chosen)


def _code(
    form: BatchDeploymentForm, request: HttpRequest, by: User
) -> tuple[CodeVersion | None, str]:
    data = form.cleaned_data
    source, script = data["code_source"], data["scoring_script"].strip() or USUAL_SCRIPT
    if source == "none":
        return None, ""
    if source == "keep" and form.current is not None:
        return form.current.code, script
    if source == "write":
        handed: intake.Handed | None = intake.take_text(data["script"], script)
    else:
        handed = intake.take(request, "code_files", leaf="code")
    if handed is None:
        raise UserError(_("Choose the scoring script or its folder."), target="code_files")
    if not handed.is_folder and source == "upload":
        script = script_of(data["scoring_script"], handed.leaf)
    return catalog.register_anonymous_code(form.workspace, handed.content, by=by), script


def script_of(named: str, leaf: str) -> str:
    """The script when one file was chosen: that file, unless another one was named, which is then found missing."""
    named = named.strip()
    return leaf if named in {"", USUAL_SCRIPT} else named


def _names(version_class: Any, kind: str, workspace: Workspace) -> list[tuple[str, str]]:
    """`name:version` of what is neither anonymous nor archived, newest first under each name."""
    rows = version_class.objects.filter(
        **{f"{kind}__workspace": workspace, f"{kind}__is_anonymous": False},
        **{f"{kind}__archived_at__isnull": True},
        archived_at__isnull=True,
    )
    found = rows.annotate(label=F(f"{kind}__name")).order_by("label", "-created_at")
    return [(f"{row.label}:{row.version}",) * 2 for row in found[:500]]
