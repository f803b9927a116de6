"""What may be said of a batch deployment, and every rule it must obey before anything is written (facts 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deployments.models import BatchDeployment
from deployments.specs import check_script, check_variables
from endpoints.names import check_name
from workspaces.checker import Checker
from workspaces.computes import find_compute
from workspaces.errors import UserError
from workspaces.models import (
    CodeVersion,
    ComponentVersion,
    EnvironmentVersion,
    ModelVersion,
    Workspace,
)

LARGEST = 2**31 - 1
DEFAULT_FILE = "predictions.csv"
PIPELINE_SETTINGS: dict[str, type] = {
    "default_compute": str,
    "default_datastore": str,
    "continue_on_step_failure": bool,
    "force_rerun": bool,
}


@dataclass(frozen=True)
class BatchDeploymentSpec:
    """A whole wish: names of assets are resolved already, defaults are Azure's.

    Times are seconds, `compute` is a name, `output_file_name` is empty with `summary_only`.
    """

    name: str
    type: str = BatchDeployment.Type.MODEL
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    model: ModelVersion | None = None
    code: CodeVersion | None = None
    scoring_script: str = ""
    environment: EnvironmentVersion | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    compute: str = ""
    instance_count: int = 1
    max_concurrency_per_instance: int = 1
    mini_batch_size: int = 10
    error_threshold: int = -1
    max_retries: int = 3
    timeout_seconds: int = 30
    logging_level: str = BatchDeployment.LoggingLevel.INFO
    output_action: str = BatchDeployment.OutputAction.APPEND_ROW
    output_file_name: str = DEFAULT_FILE
    component: ComponentVersion | None = None
    pipeline_settings: dict[str, Any] = field(default_factory=dict)


SAME_FIELDS = (
    "name",
    "type",
    "description",
    "tags",
    "properties",
    "scoring_script",
    "compute",
    "instance_count",
    "max_concurrency_per_instance",
    "mini_batch_size",
    "error_threshold",
    "max_retries",
    "timeout_seconds",
    "logging_level",
    "output_action",
    "output_file_name",
    "pipeline_settings",
)
"""Fields that a row keeps under the same name."""


def check_spec(workspace: Workspace, spec: BatchDeploymentSpec) -> None:
    """Raise for every field and combination that is wrong, all at once."""
    checker = Checker()
    checker.run(check_name, "deployment", spec.name)
    checker.text(spec.description, "description", 10_000)
    checker.texts(spec.tags, "tags")
    checker.texts(spec.properties, "properties")
    if checker.choice(spec.type, "type", BatchDeployment.Type.values):
        if spec.type == BatchDeployment.Type.MODEL:
            _check_assets(spec, checker)
            _check_compute(workspace, spec, checker)
            _check_settings(spec, checker)
        else:
            _check_pipeline(workspace, spec, checker)
    checker.finish()


def _check_assets(spec: BatchDeploymentSpec, checker: Checker) -> None:
    checker.that(spec.model is not None, "model", "The deployment has no model. Give model.")
    checker.that(
        spec.component is None,
        "component",
        "component is for deployments of type pipeline. Leave it out, or set type to pipeline.",
    )
    is_mlflow = spec.model is not None and spec.model.type == ModelVersion.Type.MLFLOW
    has_code, has_script = spec.code is not None, bool(spec.scoring_script)
    if checker.that(
        has_code == has_script,
        "code_configuration.scoring_script" if has_code else "code_configuration.code",
        "code_configuration needs both code and scoring_script.",
    ):
        checker.that(
            has_code or is_mlflow or spec.model is None,
            "code_configuration",
            "The deployment has no scoring script. Give code_configuration.code and .scoring_script; only MLflow "
            "models do without.",
        )
    checker.that(
        spec.environment is not None or not has_code,
        "environment",
        "The scoring script needs an environment. Give environment.",
    )
    if spec.environment is not None:
        checker.that(
            not spec.environment.inference_config,
            "environment.inference_config",
            "This environment is a custom container (inference_config), which answers requests and runs no jobs.",
        )
    if spec.code is not None and spec.scoring_script:
        checker.run(check_script, spec.code, spec.scoring_script)


def _check_compute(workspace: Workspace, spec: BatchDeploymentSpec, checker: Checker) -> None:
    is_count = checker.whole(spec.instance_count, "resources.instance_count", 1, LARGEST)
    if not checker.that(
        bool(spec.compute),
        "compute",
        "The deployment has no compute. Give the name of one, such as azureml:cpu-cluster.",
    ):
        return
    compute = checker.run(_known_compute, workspace, spec.compute, "compute")
    if compute is not None and compute.is_cluster and is_count:
        checker.that(
            spec.instance_count <= compute.max_instances,
            "resources.instance_count",
            f"resources.instance_count is {spec.instance_count}, but compute '{compute.name}' has at most "
            f"{compute.max_instances} nodes. Raise its max_instances, or ask for fewer.",
        )


def _check_settings(spec: BatchDeploymentSpec, checker: Checker) -> None:
    checker.whole(
        spec.max_concurrency_per_instance, "settings.max_concurrency_per_instance", 1, 1000
    )
    checker.whole(spec.mini_batch_size, "settings.mini_batch_size", 1, LARGEST)
    checker.whole(spec.error_threshold, "settings.error_threshold", -1, LARGEST)
    checker.whole(spec.max_retries, "settings.retry_settings.max_retries", 0, LARGEST)
    checker.whole(spec.timeout_seconds, "settings.retry_settings.timeout", 1, LARGEST)
    levels = BatchDeployment.LoggingLevel.values
    checker.choice(spec.logging_level, "settings.logging_level", levels)
    check_variables(spec.environment_variables, checker)
    actions = BatchDeployment.OutputAction.values
    if not checker.choice(spec.output_action, "settings.output_action", actions):
        return
    name = spec.output_file_name
    if spec.output_action == BatchDeployment.OutputAction.SUMMARY_ONLY:
        checker.that(
            not name,
            "settings.output_file_name",
            f"settings.output_file_name is {name[:80]!r}, but with output_action summary_only there is no such "
            "file. Leave the name out, or use append_row.",
        )
        return
    checker.that(
        0 < len(name) <= 255
        and name.isprintable()
        and not set(name) & set("/\\")
        and name not in {".", ".."},
        "settings.output_file_name",
        f"settings.output_file_name is {name[:80]!r}. It must be the name of a file, without a folder, of at most "
        "255 characters.",
    )


def _check_pipeline(workspace: Workspace, spec: BatchDeploymentSpec, checker: Checker) -> None:
    checker.that(
        spec.component is not None and spec.component.type == "pipeline",
        "component",
        "A deployment of type pipeline needs the component of a pipeline. Give component.",
    )
    for name in ("model", "code", "environment"):
        checker.that(
            getattr(spec, name) is None,
            name,
            f"{name} is for deployments of type model; the steps of a pipeline bring their own. Leave it out.",
        )
    for name, value in spec.pipeline_settings.items():
        kind = PIPELINE_SETTINGS.get(name)
        if kind is None:
            has = ", ".join(PIPELINE_SETTINGS)
            checker.that(
                False,
                f"settings.{name}",
                f"settings of a pipeline have no '{name}'. They have {has}.",
            )
        elif kind is bool:
            checker.flag(value, f"settings.{name}")
        else:
            checker.text(value, f"settings.{name}", 255)
    default = spec.pipeline_settings.get("default_compute")
    if isinstance(default, str) and default:
        checker.run(_known_compute, workspace, default, "settings.default_compute")


def _known_compute(workspace: Workspace, name: str, target: str) -> Any:
    found = find_compute(workspace, name)
    if found is None:
        has = ", ".join(workspace.computes.values_list("name", flat=True)[:10]) or "none yet"
        raise UserError(
            f"There is no compute '{name[:60]}' in workspace '{workspace.name}'. It has {has}.",
            code="ResourceNotFound",
            target=target,
        )
    return found
