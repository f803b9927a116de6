"""What a deployment's YAML, as the SDK has read it, means on this machine: folders, script, environment, variables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cli.faults import UsageFault
from cli.local import records
from cli.local.assets import Assets, FetchedModel
from cli.local.surroundings import (
    SERVED_ALONE,
    Surroundings,
    conda_path,
    context_path,
    plain,
    surroundings_of,
)
from cli.names import checked_name

if TYPE_CHECKING:
    from azure.ai.ml.entities import Model, OnlineDeployment

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Azure's readiness probe: until then a server may load its model.
READY_SECONDS = 10 + 10 * 30


@dataclass(frozen=True)
class Wish:
    """All that is needed to build and start it; paths are absolute."""

    code_dir: Path | None
    script: Path | None
    """Relative to the code; without one the model, or a custom container, serves."""
    model: FetchedModel | None
    surroundings: Surroundings
    variables: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = READY_SECONDS
    """How long the server may take until its first worker is ready."""
    model_mount: str = ""
    """Where a custom container finds the model; empty: where every container does."""
    wants_gpu: bool = False
    is_debugged: bool = False
    """A debugger is to attach."""

    @property
    def calls_debugger(self) -> bool:
        """Whether the script connects to a debugger that listens."""
        return "AZUREML_DEBUG_PORT" in self.variables

    @property
    def served_alone(self) -> str:
        """The type of a model that is served without a script; empty for all others."""
        if self.code_dir is not None or self.surroundings.routes or self.model is None:
            return ""
        return self.model.type if self.model.type in SERVED_ALONE else ""


def wish_of(
    deployment: OnlineDeployment,
    assets: Assets,
    *,
    wants_gpu: bool = False,
    is_debugged: bool = False,
) -> Wish:
    """Raises `UsageFault` for what is missing or cannot be; fetches assets of the portal."""
    checked_name("endpoint", deployment.endpoint_name)
    checked_name("deployment", deployment.name)
    base = Path(deployment.base_path)
    variables = _variables(deployment.environment_variables or {})
    code = _code(deployment, base)
    model = _model(deployment.model, base, assets)
    surroundings = surroundings_of(
        deployment.environment, assets, base=base, model=model, has_code=code is not None
    )
    code_dir, script = code or (None, None)
    wish = Wish(
        code_dir=code_dir,
        script=script,
        model=model,
        surroundings=surroundings,
        variables=variables,
        ready_seconds=_ready_seconds(deployment.readiness_probe, variables),
        model_mount=str(getattr(deployment, "model_mount_path", None) or ""),
        wants_gpu=wants_gpu,
        is_debugged=is_debugged,
    )
    _check(wish)
    return wish


def _check(wish: Wish) -> None:
    is_custom = wish.surroundings.routes is not None
    if wish.code_dir is None and not is_custom and not wish.served_alone:
        raise UsageFault(
            "The deployment has no scoring script. Give code_configuration.code and .scoring_script, a model of type "
            "mlflow_model or triton_model, or an environment with inference_config."
        )
    if wish.is_debugged and is_custom:
        raise UsageFault(
            "--vscode-debug attaches to the workers of the inference server, and a custom container brings a server "
            "of its own. Let that listen for a debugger."
        )
    if wish.is_debugged and wish.code_dir is None:
        raise UsageFault("--vscode-debug needs a scoring script, and the deployment has none.")
    if wish.is_debugged and wish.calls_debugger:
        raise UsageFault(
            "--vscode-debug and AZUREML_DEBUG_PORT are two ways to debug. Remove one of them."
        )


def yaml_of(deployment: OnlineDeployment) -> dict[str, Any]:
    """The SDK's own form of it, with absolute paths: the same again, wherever it is read."""
    found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(plain(deployment._to_dict())))
    base = Path(deployment.base_path)
    code = found.get("code_configuration", {})
    if _is_local(code.get("code")):
        code["code"] = str((base / code["code"]).resolve())
    environment = found.get("environment")
    conda = conda_path(deployment.environment)
    context = context_path(deployment.environment, base)
    if isinstance(environment, dict) and conda is not None:
        environment["conda_file"] = str(conda)
    if isinstance(environment, dict) and context is not None:
        environment["build"]["path"] = str(context)
    return found


def _code(deployment: OnlineDeployment, base: Path) -> tuple[Path, Path] | None:
    code = deployment.code_configuration
    if code is None:
        return None
    if not code.scoring_script:
        raise UsageFault(
            "code_configuration has no scoring_script. Name the script in the folder, such as score.py."
        )
    if not _is_local(code.code):
        raise UsageFault(
            f"code_configuration.code is '{code.code}'. A local deployment needs a folder of this machine."
        )
    folder = (base / str(code.code)).resolve()
    if not folder.is_dir():
        raise UsageFault(f"code_configuration.code is '{code.code}': {folder} is no folder.")
    script = Path(code.scoring_script)
    if script.is_absolute() or ".." in script.parts or not (folder / script).is_file():
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))
        listed = ", ".join(there[:8]) or "none"
        raise UsageFault(
            f"The scoring script '{script}' is not in the code folder {folder}. Python files there: {listed}."
        )
    return folder, script


def _model(model: Model | str | None, base: Path, assets: Assets) -> FetchedModel | None:
    if model is None:
        return None
    if isinstance(model, str):
        return assets.model(model)
    if model.path is None or not _is_local(str(model.path)):
        raise UsageFault(
            f"model.path is '{model.path}'. A local deployment needs a file or folder of this machine, or a "
            "registered model as azureml:<name>:<version>."
        )
    path = (base / str(model.path)).resolve()
    if not path.exists():
        raise UsageFault(f"model.path is '{model.path}': {path} does not exist.")
    if records.root().resolve().is_relative_to(path):
        raise UsageFault(
            f"model.path is '{model.path}': {path} also holds the records of local deployments. Put the model into a "
            "folder of its own."
        )
    kind = str(model.type or "custom_model")
    return FetchedModel(path, str(model.name), str(model.version or 1), kind)


def _variables(variables: Mapping[str, Any]) -> dict[str, str]:
    for name in variables:
        if not VARIABLE.fullmatch(str(name)):
            raise UsageFault(
                f"The environment variable {name!r} is not allowed. Use letters, digits and '_', not beginning with "
                "a digit."
            )
    return {str(name): str(value) for name, value in variables.items()}


def _ready_seconds(probe: Any, variables: Mapping[str, Any]) -> float:
    if "AZUREML_DEBUG_PORT" in variables or variables.get("PORTICO_DEBUG_WAIT") == "true":
        return math.inf
    if probe is None:
        return READY_SECONDS
    tries = (probe.period or 10) * (probe.failure_threshold or 30)
    return float((probe.initial_delay or 10) + tries)


def _is_local(path: object) -> bool:
    """Whether it names something on this disk, no address and no asset."""
    text = str(path or "")
    return bool(text) and "://" not in text and not text.startswith(("azureml:", "git+"))
