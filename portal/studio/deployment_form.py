"""The forms behind the create wizard and the edit page; `specification` turns what they hold into a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from deployments.environments.curated import curated_environments
from deployments.models import PROBE_DEFAULTS
from deployments.specs import DeploymentSpec
from endpoints.models import OnlineEndpoint
from portal.templatetags.studio import size
from workspaces.models import Compute, EnvironmentVersion, InstanceType, ModelVersion, Workspace

TEMPLATE_SCRIPT = '''import json
import os
from pathlib import Path

import joblib

model = None


def init():
    """Called once when an instance starts: load the model."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.pkl")


def run(raw_data):
    """Called for every request with its body; what it returns is the answer."""
    data = json.loads(raw_data)["data"]
    return model.predict(data).tolist()
'''
TEMPLATE_CONDA = """channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
      - scikit-learn
      - joblib
"""
PROBES = (
    ("readiness_probe", _("Readiness probe")),
    ("liveness_probe", _("Liveness probe")),
    ("startup_probe", _("Startup probe")),
)
STARTUP = "startup_probe"
"""The only one that is not there unless somebody wants it."""
TEMPLATE_DOCKERFILE = """FROM python:3.12-slim
RUN pip install --no-cache-dir scikit-learn joblib
"""
ROUTES = ("scoring", "readiness", "liveness")
PROBE_LABELS = {
    "initial_delay": _("Initial delay"),
    "period": _("Period"),
    "timeout": _("Timeout"),
    "success_threshold": _("Success threshold"),
    "failure_threshold": _("Failure threshold"),
}
PROBE_UNITS = {"initial_delay": "s", "period": "s", "timeout": "s"}
DEFAULT_TYPE = "Standard_DS3_v2"


def _number(least: int) -> forms.NumberInput:
    return forms.NumberInput(attrs={"min": least, "inputmode": "numeric"})


class PairsField(forms.CharField):
    """`name=value` lines, as a mapping of texts."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        pairs: dict[str, str] = {}
        for number, line in enumerate(str(value or "").splitlines(), 1):
            if not line.strip():
                continue
            name, separator, text = line.partition("=")
            if not separator or not name.strip():
                raise forms.ValidationError(
                    _("Line %(number)s is '%(line)s'. Write name=value."),
                    params={"number": number, "line": line[:60]},
                )
            pairs[name.strip()] = text.strip()
        return pairs

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return "\n".join(f"{name}={text}" for name, text in value.items())
        return value

    def validate(self, value: Any) -> None:
        """Whatever `to_python` gives is right."""


class EndpointForm(forms.Form):
    """The first step of the wizard, for a new endpoint."""

    endpoint_name = forms.CharField(label=_("Endpoint name"), max_length=200)
    endpoint_description = forms.CharField(
        label=_("Description"), required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    auth_mode = forms.ChoiceField(
        label=_("Authentication type"),
        choices=[
            (OnlineEndpoint.AuthMode.KEY, _("Key-based")),
            (OnlineEndpoint.AuthMode.AML_TOKEN, _("Token-based")),
        ],
        initial=OnlineEndpoint.AuthMode.KEY,
    )
    compute = forms.ChoiceField(
        label=_("Compute"),
        required=False,
        help_text=_("Where its deployments run. It cannot change once there is a deployment."),
    )
    endpoint_tags = PairsField(label=_("Tags"), required=False)

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = workspace.computes.filter(kind=Compute.Kind.KUBERNETES)
        attached = [(name, name) for name in names.values_list("name", flat=True)]
        field = self.fields["compute"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", _("This installation (default)")), *attached]
        if not attached:
            del self.fields["compute"]


class DeploymentForm(forms.Form):
    """Everything a deployment needs. A new one has no `current`; an edited one may keep each asset as it is."""

    KEEP = ("keep", _("Keep as it is"))
    MODEL_SOURCES = [
        ("registered", _("Registered model")),
        ("upload", _("Upload")),
        ("none", _("No model")),
    ]
    CODE_SOURCES = [
        ("write", _("Write here")),
        ("upload", _("Upload")),
        ("none", _("None: the model needs no script")),
    ]
    ENVIRONMENT_SOURCES = [
        ("registered", _("Registered")),
        ("curated", _("Curated")),
        ("conda", _("Conda file")),
        ("requirements", _("pip requirements")),
        ("image", _("Container image")),
        ("dockerfile", _("Dockerfile")),
        ("model", _("From the model's files")),
    ]

    name = forms.CharField(label=_("Deployment name"), initial="blue", max_length=200)
    description = forms.CharField(
        label=_("Description"), required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    tags = PairsField(label=_("Tags"), required=False)
    model_source = forms.ChoiceField(initial="registered", label=_("Model"))
    # Texts behind a list of choices: what does not exist is refused by the catalog, which says what does.
    model_version = forms.CharField(
        label=_("Name and version"), required=False, widget=forms.Select
    )
    model_name = forms.CharField(label=_("Register it as"), required=False, max_length=255)
    code_source = forms.ChoiceField(initial="write", label=_("Scoring script"))
    script = forms.CharField(
        label=_("Script"),
        required=False,
        initial=TEMPLATE_SCRIPT,
        strip=False,
        widget=forms.Textarea,
    )
    scoring_script = forms.CharField(
        label=_("File with init() and run()"),
        initial="score.py",
        required=False,
        max_length=500,
        widget=forms.TextInput(
            attrs={"list": "script-files", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    environment_source = forms.ChoiceField(initial="conda", label=_("Environment"))
    environment_version = forms.CharField(
        label=_("Name and version"), required=False, widget=forms.Select
    )
    curated = forms.ChoiceField(label=_("Curated environment"), required=False)
    conda_file = forms.CharField(
        label=_("Conda file"),
        required=False,
        initial=TEMPLATE_CONDA,
        strip=False,
        widget=forms.Textarea,
    )
    requirements = forms.CharField(
        label=_("pip requirements"), required=False, strip=False, widget=forms.Textarea
    )
    image = forms.CharField(
        label=_("Image"),
        required=False,
        max_length=500,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "spellcheck": "false",
                "aria-describedby": "id_image_helptext",
            }
        ),
    )
    image_conda_file = forms.CharField(
        label=_("Packages on top"), required=False, strip=False, widget=forms.Textarea
    )
    dockerfile = forms.CharField(
        label="Dockerfile",
        required=False,
        initial=TEMPLATE_DOCKERFILE,
        strip=False,
        widget=forms.Textarea,
    )
    server_port = forms.IntegerField(
        label=_("Port of its own server"),
        required=False,
        min_value=1,
        max_value=65535,
        widget=_number(1),
    )
    scoring_path = forms.CharField(
        label=_("Path of requests"), required=False, initial="/", max_length=500
    )
    readiness_path = forms.CharField(
        label=_("Path that tells readiness"), required=False, initial="/", max_length=500
    )
    liveness_path = forms.CharField(
        label=_("Path that tells liveness"), required=False, initial="/", max_length=500
    )
    environment_variables = PairsField(
        label=_("Environment variables"),
        required=False,
        help_text=_(
            "One name=value a line. They are stored encrypted and are not kept in drafts."
        ),
    )
    instance_type = forms.ChoiceField(label=_("Instance type"))
    instance_count = forms.IntegerField(label=_("Instance count"), initial=1, widget=_number(1))
    request_timeout_ms = forms.IntegerField(
        label=_("Request timeout"), initial=5000, widget=_number(1)
    )
    max_concurrent_requests_per_instance = forms.IntegerField(
        label=_("Max concurrent requests per instance"), initial=1, widget=_number(1)
    )
    max_queue_wait_ms = forms.IntegerField(
        label=_("Max queue wait"), initial=500, widget=_number(0)
    )
    app_insights_enabled = forms.BooleanField(label=_("Diagnostics"), required=False, initial=True)
    all_traffic = forms.BooleanField(
        label=_("Send all traffic to it once it is ready"), required=False
    )

    def __init__(
        self,
        *args: Any,
        workspace: Workspace,
        current: DeploymentSpec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace
        self._add_probes()
        models = _versions(ModelVersion, "model", workspace)
        environments = _versions(EnvironmentVersion, "environment", workspace)
        keep = [self.KEEP] if current else []
        self._choose(
            "model_source", [*(keep if current and current.model else []), *self.MODEL_SOURCES]
        )
        has_code = current is not None and current.code is not None
        self._choose("code_source", [*(keep if has_code else []), *self.CODE_SOURCES])
        self._choose(
            "environment_source",
            [*(keep if current and current.environment else []), *self.ENVIRONMENT_SOURCES],
        )
        self._choose("model_version", [("", _("Choose a model")), *_sized(models)])
        self._choose(
            "environment_version", [("", _("Choose an environment")), *_named(environments)]
        )
        self._choose("curated", [(row.name, row.name) for row in curated_environments()])
        self.instance_types = _types_with(current.instance_type if current else "")
        self._choose("instance_type", [(row.name, row.name) for row in self.instance_types])
        if not models:
            self.fields["model_source"].initial = "upload"
        elif len(models) == 1:
            self.fields["model_version"].initial = str(models[0])

    def probes(self) -> Iterator[tuple[Any, list[Any]]]:
        """The probes with their fields, for the page."""
        for probe, label in PROBES:
            yield (
                label,
                [(self[f"{probe}_{key}"], PROBE_UNITS.get(key, "")) for key in PROBE_DEFAULTS],
            )

    def probe(self, name: str) -> dict[str, int]:
        """The values of a probe that differ from Azure's defaults."""
        values = {key: self.cleaned_data.get(f"{name}_{key}") for key in PROBE_DEFAULTS}
        return differing_probe(name, values)

    def inference_config(self) -> dict[str, Any]:
        """Where the image's own server answers; empty without one."""
        return routes_of(self.cleaned_data)

    def type_groups(self, machine: dict[str, float]) -> list[tuple[Any, list[InstanceType]]]:
        """The instance types that this machine has room for, and the others."""
        fitting = [row for row in self.instance_types if has_room(row, machine)]
        larger = [row for row in self.instance_types if row not in fitting]
        return [(_("This machine has room"), fitting), (_("Larger than this machine"), larger)]

    def usual_type(self, machine: dict[str, float]) -> str:
        """Azure's default where it fits, else the cheapest that makes use of two cores."""
        names = {row.name: row for row in self.instance_types if has_room(row, machine)}
        if DEFAULT_TYPE in names or not names:
            return DEFAULT_TYPE
        larger = [row for row in names.values() if row.cores >= 2] or list(names.values())
        return min(larger, key=lambda row: row.price_per_hour).name

    def _add_probes(self) -> None:
        for probe, _label in PROBES:
            for key, default in PROBE_DEFAULTS.items():
                self.fields[f"{probe}_{key}"] = forms.IntegerField(
                    label=PROBE_LABELS[key],
                    required=False,
                    initial=None if probe == STARTUP else default,
                    widget=_number(1),
                )

    def _choose(self, name: str, choices: list[Any]) -> None:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            field.choices = choices
        else:
            field.widget.choices = choices


def differing_probe(name: str, values: Mapping[str, Any]) -> dict[str, int]:
    """What differs from Azure's defaults; a startup probe with nothing else says that it is there."""
    given = {key: value for key, value in values.items() if value not in (None, "")}
    differing = {key: value for key, value in given.items() if value != PROBE_DEFAULTS[key]}
    if name == STARTUP and given and not differing:
        return {"failure_threshold": PROBE_DEFAULTS["failure_threshold"]}
    return differing


def routes_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """An `inference_config`, as the catalog keeps it, of the form's fields."""
    port = values.get("server_port")
    if not port:
        return {}
    return {
        f"{name}_route": {"path": str(values.get(f"{name}_path") or "/").strip(), "port": port}
        for name in ROUTES
    }


def has_room(row: InstanceType, machine: dict[str, float]) -> bool:
    """Whether this machine gives an instance all that the type promises."""
    return (
        float(row.cores) <= machine["cores"]
        and row.memory_bytes <= machine["memory_bytes"]
        and not row.gpu_count
    )


def _types_with(name: str) -> list[InstanceType]:
    """What may be chosen, and the one in use even if it was switched off since."""
    return list(InstanceType.objects.filter(Q(is_enabled=True) | Q(name__iexact=name)))


def _sized(rows: list[ModelVersion]) -> list[tuple[str, str]]:
    return [(str(row), f"{row} · {row.type} · {size(row.size_bytes)}") for row in rows]


def _named(rows: list[Any]) -> list[tuple[str, str]]:
    return [(str(row), str(row)) for row in rows]


def _versions(version_class: Any, kind: str, workspace: Workspace) -> list[Any]:
    rows = version_class.objects.filter(
        **{f"{kind}__workspace": workspace, f"{kind}__is_anonymous": False},
        archived_at__isnull=True,
        **{f"{kind}__archived_at__isnull": True},
    )
    return list(rows.select_related(kind).order_by(f"{kind}__name", "-created_at")[:500])
