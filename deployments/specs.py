"""What may be said of a deployment, and every rule it must obey before anything is written (facts 2.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.conf import settings

from deployments.containers import is_custom
from deployments.mlflow_models import check_model, is_served_alone
from deployments.models import PROBE_DEFAULTS, OnlineDeployment
from deployments.runtimes.endings import cores_in_words
from deployments.scripts import LARGEST_PARSED_BYTES, parse
from deployments.triton import check_repository, is_repository
from endpoints.names import check_name
from workspaces import storage
from workspaces.checker import Checker
from workspaces.errors import NotFound, UserError
from workspaces.instance_types import find_instance_type
from workspaces.models import CodeVersion, EnvironmentVersion, InstanceType, ModelVersion

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGEST_SCRIPT_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class DeploymentSpec:
    """A whole wish: names of assets are resolved already, defaults are Azure's."""

    name: str
    model: ModelVersion | None = None
    code: CodeVersion | None = None
    scoring_script: str = ""
    environment: EnvironmentVersion | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    instance_type: str = "Standard_DS3_v2"
    instance_count: int = 1
    type: str = OnlineDeployment.Type.MANAGED
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    request_timeout_ms: int = 5000
    max_concurrent_requests_per_instance: int = 1
    max_queue_wait_ms: int = 500
    liveness_probe: dict[str, int] = field(default_factory=dict)
    readiness_probe: dict[str, int] = field(default_factory=dict)
    startup_probe: dict[str, int] = field(default_factory=dict)
    """Empty: there is none. The other two have Azure's defaults then."""
    model_mount_path: str = ""
    app_insights_enabled: bool = False
    data_collector: dict[str, Any] = field(default_factory=dict)
    egress_public_network_access: str = "enabled"
    private_network_connection: bool = False
    scale_type: str = "default"


RUN_FIELDS = (
    "scoring_script",
    "request_timeout_ms",
    "max_concurrent_requests_per_instance",
    "max_queue_wait_ms",
    "liveness_probe",
    "readiness_probe",
    "startup_probe",
    "model_mount_path",
    "app_insights_enabled",
    "data_collector",
    "egress_public_network_access",
    "private_network_connection",
    "scale_type",
)
"""Fields that a revision keeps under the same name."""


def check_spec(spec: DeploymentSpec, *, most_instances: int, runtime: str) -> InstanceType:
    """The instance type, once every field and combination is right for `runtime`; raises for all that is wrong."""
    checker = Checker()
    checker.run(check_name, "deployment", spec.name)
    _check_plain_fields(spec, checker, most_instances)
    for name in ("liveness_probe", "readiness_probe", "startup_probe"):
        _check_probe(name, getattr(spec, name), checker)
    check_variables(spec.environment_variables, checker)
    _check_combinations(spec, checker, runtime)
    instance_type = checker.run(find_instance_type, spec.instance_type)
    if spec.code is not None and spec.scoring_script:
        checker.run(check_script, spec.code, spec.scoring_script)
    checker.finish()
    assert isinstance(instance_type, InstanceType)
    return instance_type


def _check_plain_fields(spec: DeploymentSpec, checker: Checker, most_instances: int) -> None:
    checker.choice(spec.type, "type", list(OnlineDeployment.Type.values))
    checker.text(spec.description, "description", 10_000)
    checker.texts(spec.tags, "tags")
    checker.texts(spec.properties, "properties")
    checker.whole(spec.instance_count, "instance_count", 1, most_instances)
    checker.whole(
        spec.request_timeout_ms,
        "request_settings.request_timeout_ms",
        1,
        settings.MAX_REQUEST_TIMEOUT_MS,
    )
    checker.whole(
        spec.max_concurrent_requests_per_instance,
        "request_settings.max_concurrent_requests_per_instance",
        1,
        1000,
    )
    checker.whole(spec.max_queue_wait_ms, "request_settings.max_queue_wait_ms", 0, 300_000)
    checker.flag(spec.app_insights_enabled, "app_insights_enabled")
    checker.flag(spec.private_network_connection, "private_network_connection")
    checker.choice(
        spec.egress_public_network_access, "egress_public_network_access", ["enabled", "disabled"]
    )
    checker.choice(spec.scale_type, "scale_settings.type", ["default"])
    checker.that(
        isinstance(spec.data_collector, dict),
        "data_collector",
        "data_collector must be a mapping.",
    )
    checker.that(
        not spec.model_mount_path or spec.model_mount_path.startswith("/"),
        "model_mount_path",
        f"model_mount_path is '{spec.model_mount_path}'. It must be an absolute path, such as /models.",
    )


def _check_probe(name: str, probe: object, checker: Checker) -> None:
    if not checker.that(isinstance(probe, dict), name, f"{name} must be a mapping."):
        return
    assert isinstance(probe, dict)
    for key, value in probe.items():
        if key not in PROBE_DEFAULTS:
            allowed = ", ".join(PROBE_DEFAULTS)
            checker.that(False, f"{name}.{key}", f"{name} has no '{key}'. It has {allowed}.")
            continue
        checker.whole(value, f"{name}.{key}", 1, 100_000)
    checker.that(
        name == "readiness_probe" or probe.get("success_threshold", 1) == 1,
        f"{name}.success_threshold",
        f"{name}.success_threshold must be 1.",
    )


def check_variables(variables: object, checker: Checker) -> None:
    """Note every environment variable whose name or value cannot be given to a process."""
    if not checker.texts(variables, "environment_variables"):
        return
    assert isinstance(variables, dict)
    for name, value in variables.items():
        checker.that(
            VARIABLE.fullmatch(name) is not None,
            f"environment_variables.{name}",
            f"The environment variable {name!r} is not allowed. Use letters, digits and '_', not beginning "
            "with a digit.",
        )
        checker.that(
            "\x00" not in value,
            f"environment_variables.{name}",
            f"The value of the environment variable {name} holds a zero character.",
        )


def _check_combinations(spec: DeploymentSpec, checker: Checker, runtime: str) -> None:
    checker.that(
        (spec.code is None) == (not spec.scoring_script) or _has_routes(spec),
        "code_configuration.scoring_script" if spec.code else "code_configuration.code",
        "code_configuration needs both code and scoring_script.",
    )
    no_code = spec.code is None
    own_server = is_custom(spec.environment, spec.model, has_code=not no_code)
    checker.that(
        not own_server or runtime == "docker",
        "environment.inference_config" if _has_routes(spec) else "code_configuration",
        "The environment is a custom container, whose own server answers: that needs the docker runtime, and this "
        "installation runs the endpoint's deployments as processes. Give code_configuration and a conda file, use an "
        "endpoint on a compute with engines, or have an operator start Portico with an engine "
        "(PORTICO_RUNTIME=docker).",
    )
    if own_server:
        pass
    elif is_repository(spec.model, has_code=not no_code):
        checker.run(check_repository, spec.model, runtime)
    elif is_served_alone(spec.model, has_code=not no_code):
        checker.run(check_model, spec.model, has_environment=spec.environment is not None)
    elif no_code and spec.model is not None and spec.model.type != ModelVersion.Type.CUSTOM:
        checker.that(
            False,
            "code_configuration",
            f"Deploying a {spec.model.type} without a scoring script is not available in this version. Give "
            "code_configuration and an environment.",
        )
    elif no_code:
        checker.that(
            False,
            "code_configuration",
            "The deployment has no scoring script. Give code_configuration.code and .scoring_script, or a model that "
            "needs none: one of type mlflow_model or triton_model.",
        )
    if spec.model is not None and spec.model.type == ModelVersion.Type.MLFLOW and not no_code:
        checker.that(
            spec.environment is not None,
            "environment",
            "An MLflow model with a scoring script needs an environment.",
        )
    checker.that(
        not spec.model_mount_path or own_server,
        "model_mount_path",
        "model_mount_path is for custom containers only. Scripts find the model by AZUREML_MODEL_DIR.",
    )


def _has_routes(spec: DeploymentSpec) -> bool:
    return spec.environment is not None and bool(spec.environment.inference_config)


def check_script(code: CodeVersion, scoring_script: str) -> None:
    """The script exists in the code folder and is valid Python; its functions are checked when it is loaded."""
    path = storage.safe_path(scoring_script)
    try:
        source = storage.read_file(code.content_hash, path, limit=LARGEST_PARSED_BYTES + 1)
    except NotFound:
        paths = [entry.path for entry in storage.entries(code.content_hash)]
        scripts = [path for path in paths if path.endswith(".py")]
        kind, listed = ("Python files", scripts) if scripts else ("Files", paths)
        raise UserError(
            f"The scoring script '{scoring_script}' is not in the code folder. "
            f"{kind} there: {', '.join(listed[:8]) or 'none'}.",
            code="ResourceNotFound",
            target="code_configuration.scoring_script",
        ) from None
    try:
        parse(source, path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        # A newer syntax than the portal's own Python is not an error of the user: the worker decides.
        if isinstance(error, SyntaxError) and "invalid syntax" not in str(error.msg):
            reason = error.msg
        else:
            reason = "invalid syntax"
        raise UserError(
            f"{path}{where}: {reason}. Mend the script, then try again.",
            target="code_configuration.scoring_script",
        ) from error


def limit_warnings(instance_type: InstanceType, machine: Mapping[str, float]) -> list[str]:
    """What the type promises and this machine does not have (`cores`, `memory_bytes`); then limits are capped."""
    warnings = []
    if instance_type.cores > Decimal(str(machine["cores"])):
        warnings.append(
            f"{instance_type.name} has {cores_in_words(float(instance_type.cores))}; this machine has "
            f"{machine['cores']:g}. Instances may use {machine['cores']:g}."
        )
    if instance_type.memory_bytes > machine["memory_bytes"]:
        warnings.append(
            f"{instance_type.name} has {instance_type.memory_bytes / 2**30:.3g} GiB memory; this machine has "
            f"{machine['memory_bytes'] / 2**30:.3g} GiB. Instances may use that much."
        )
    if instance_type.gpu_count:
        warnings.append(
            f"{instance_type.name} has {instance_type.gpu_count} GPU; the process runtime does not assign GPUs."
        )
    return warnings
