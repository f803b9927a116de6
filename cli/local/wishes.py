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
from cli.names import checked_name

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment, Model, OnlineDeployment

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CURATED = re.compile(r"(azureml:)?azureml-|azureml://registries/azureml", re.IGNORECASE)
# Azure's readiness probe: until then a server may load its model.
READY_SECONDS = 10 + 10 * 30
DOCKER_LATER = "which needs Docker. Local deployments run as processes so far"


@dataclass(frozen=True)
class Wish:
    """All that is needed to build and start it; paths are absolute."""

    code_dir: Path
    script: Path
    """Relative to the code."""
    model: FetchedModel | None
    environment: Mapping[str, str]
    """As the builder takes it: `conda_text` with `folder`, `curated_name`, or nothing."""
    warnings: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = READY_SECONDS
    """How long the server may take until its first worker is ready."""


def wish_of(deployment: OnlineDeployment, assets: Assets) -> Wish:
    """Raises `UsageFault` for what is missing or needs more than a process; fetches assets of the portal."""
    checked_name("endpoint", deployment.endpoint_name)
    checked_name("deployment", deployment.name)
    base = Path(deployment.base_path)
    code_dir, script = _code(deployment, base)
    environment, warnings = _environment(deployment, assets)
    return Wish(
        code_dir=code_dir,
        script=script,
        model=_model(deployment.model, base, assets),
        environment=environment,
        warnings=warnings,
        variables=_variables(deployment.environment_variables or {}),
        ready_seconds=_ready_seconds(
            deployment.readiness_probe, deployment.environment_variables or {}
        ),
    )


def yaml_of(deployment: OnlineDeployment) -> dict[str, Any]:
    """The SDK's own form of it, with absolute paths: the same again, wherever it is read."""
    found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_plain(deployment._to_dict())))
    base = Path(deployment.base_path)
    code = found.get("code_configuration", {})
    if _is_local(code.get("code")):
        code["code"] = str((base / code["code"]).resolve())
    environment = found.get("environment")
    conda_path = _conda_path(deployment.environment)
    if isinstance(environment, dict) and conda_path is not None:
        environment["conda_file"] = str(conda_path)
    return found


def _plain(value: Any) -> Any:
    """The same as lists, dictionaries and texts, which every YAML writer knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _code(deployment: OnlineDeployment, base: Path) -> tuple[Path, Path]:
    code = deployment.code_configuration
    if code is None or not code.scoring_script:
        raise UsageFault(
            "The deployment has no scoring script. Local deployments need code_configuration.code and "
            ".scoring_script; models without code (MLflow, Triton) run on the portal."
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
    return FetchedModel(path, str(model.name), str(model.version or 1))


def _environment(
    deployment: OnlineDeployment, assets: Assets
) -> tuple[dict[str, str], tuple[str, ...]]:
    environment = deployment.environment
    if environment is None:
        return {}, ()
    if isinstance(environment, str):
        if CURATED.match(environment):
            return {"curated_name": environment}, ()
        environment = assets.environment(environment)
    return _described(environment)


def _described(environment: Environment) -> tuple[dict[str, str], tuple[str, ...]]:
    if environment.inference_config:
        raise UsageFault(
            f"The environment is a custom container (inference_config), {DOCKER_LATER}. Deploy it to the portal."
        )
    if environment.build is not None and environment.build.path:
        raise UsageFault(
            f"The environment has a Docker build context, {DOCKER_LATER}. Give a conda file instead."
        )
    if environment.conda_file:
        warning = (
            f"The image {environment.image} is not used: local deployments are processes with the packages of the "
            "conda file."
        )
        return _conda(environment), (warning,) if environment.image else ()
    # Azure's own inference images are known by the packages they bring.
    return {"curated_name": str(environment.image)}, ()


def _conda(environment: Environment) -> dict[str, str]:
    """The file as it is written, which `-r more.txt` in it is relative to; else what the SDK has read."""
    path = _conda_path(environment)
    if path is not None:
        return {"conda_text": path.read_text(encoding="utf-8"), "folder": str(path.parent)}
    return {"conda_text": yaml.safe_dump(_plain(environment.conda_file), sort_keys=False)}


def _conda_path(environment: Environment | str | None) -> Path | None:
    path = getattr(environment, "_conda_file_path", None)
    return Path(path).resolve() if path is not None and Path(path).is_file() else None


def _variables(variables: Mapping[str, Any]) -> dict[str, str]:
    for name in variables:
        if not VARIABLE.fullmatch(str(name)):
            raise UsageFault(
                f"The environment variable {name!r} is not allowed. Use letters, digits and '_', not beginning with "
                "a digit."
            )
    return {str(name): str(value) for name, value in variables.items()}


def _ready_seconds(probe: Any, variables: Mapping[str, Any]) -> float:
    if "AZUREML_DEBUG_PORT" in variables:
        return math.inf
    if probe is None:
        return READY_SECONDS
    tries = (probe.period or 10) * (probe.failure_threshold or 30)
    return float((probe.initial_delay or 10) + tries)


def _is_local(path: object) -> bool:
    """Whether it names something on this disk, no address and no asset."""
    text = str(path or "")
    return bool(text) and "://" not in text and not text.startswith(("azureml:", "git+"))
