"""What a deployment's environment means on this machine: packages, an image, a Dockerfile, a container of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cli.faults import UsageFault
from cli.local.assets import Assets, FetchedModel

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment

CURATED = re.compile(r"(azureml:)?azureml-|azureml://registries/azureml", re.IGNORECASE)
MLFLOW, TRITON = "mlflow_model", "triton_model"
SERVED_ALONE = {MLFLOW, TRITON}
TRITON_ENVIRONMENT = "triton-inference"
SERVER_PORT = 5001


@dataclass(frozen=True)
class Routes:
    """Where a custom container answers inside."""

    port: int = SERVER_PORT
    scoring_path: str = "/score"
    readiness_path: str = "/"
    readiness_port: int = SERVER_PORT


@dataclass(frozen=True)
class Surroundings:
    """What the server and the script run in."""

    packages: Mapping[str, str] = field(default_factory=dict)
    """As the builder takes it: `conda_text` with `folder`, `curated_name`, or nothing."""
    image: str = ""
    is_image_alone: bool = False
    """Nothing is installed on top of it: `packages` stand for it where there are no containers."""
    context: Path | None = None
    dockerfile: str = ""
    routes: Routes | None = None
    """Of a custom container, which brings its own server."""

    @property
    def needs_docker(self) -> bool:
        """Whether no process could stand for it."""
        return self.context is not None or self.routes is not None

    @property
    def asks_for_docker(self) -> bool:
        """Whether it names something that only a container has."""
        return self.needs_docker or bool(self.image)

    def image_order(self) -> dict[str, Any]:
        """What the builder of images is told."""
        order: dict[str, Any] = {"is_custom": self.routes is not None}
        if self.context is not None:
            return {**order, "context": str(self.context), "dockerfile": self.dockerfile}
        packages = None if self.is_image_alone else dict(self.packages)
        return {**order, "image": self.image, "environment": packages}


def surroundings_of(
    wanted: Environment | str | None,
    assets: Assets,
    *,
    base: Path,
    model: FetchedModel | None,
    has_code: bool,
) -> Surroundings:
    """Raises `UsageFault` for what cannot be; fetches an environment of the portal."""
    is_alone = model is not None and model.type in SERVED_ALONE and not has_code
    if wanted is None:
        return Surroundings(_packages_of(model) if model is not None and is_alone else {})
    if isinstance(wanted, str):
        if CURATED.match(wanted):
            return Surroundings({"curated_name": wanted})
        wanted = assets.environment(wanted)
    return _described(wanted, base, is_custom=not has_code and not is_alone)


def plain(value: Any) -> Any:
    """The same as lists, dictionaries and texts, which every YAML writer knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def conda_path(environment: Environment | str | None) -> Path | None:
    """The conda file, if it was named by its path."""
    path = getattr(environment, "_conda_file_path", None)
    return Path(path).resolve() if path is not None and Path(path).is_file() else None


def context_path(environment: Environment | str | None, base: Path) -> Path | None:
    """The folder of a build context, if the environment has one on this machine."""
    build = getattr(environment, "build", None)
    if build is None or not build.path:
        return None
    if "://" in str(build.path):
        raise UsageFault(
            f"environment.build.path is '{build.path}'. A local deployment needs a folder of this machine."
        )
    return (base / str(build.path)).resolve()


def _described(environment: Environment, base: Path, *, is_custom: bool) -> Surroundings:
    context = context_path(environment, base)
    told = environment.inference_config
    image = str(environment.image or "")
    has_conda = bool(environment.conda_file)
    is_custom = bool(told) or (is_custom and not has_conda)
    routes = _routes(told) if is_custom else None
    if context is not None:
        if not context.is_dir():
            raise UsageFault(f"environment.build.path is {context}, which is no folder.")
        dockerfile = str(environment.build.dockerfile_path or "Dockerfile")
        return Surroundings(context=context, dockerfile=dockerfile, routes=routes)
    if has_conda:
        return Surroundings(_conda(environment), image, routes=routes)
    # Azure's own inference images are known by the packages they bring.
    return Surroundings({"curated_name": image}, image, is_image_alone=True, routes=routes)


def _routes(told: Any) -> Routes:
    """The inference server's own for what is not said."""
    scoring, readiness = _route(told, "scoring_route"), _route(told, "readiness_route")
    readiness = readiness or _route(told, "liveness_route")
    port = int(scoring.get("port") or SERVER_PORT)
    return Routes(
        port=port,
        scoring_path=_path(scoring.get("path"), "/score"),
        readiness_path=_path(readiness.get("path"), "/"),
        readiness_port=int(readiness.get("port") or port),
    )


def _route(told: Any, name: str) -> dict[str, Any]:
    """Of a mapping, or of the SDK's own class, whose keys are those of the wire."""
    found = getattr(told, name, None) or (told.get(name) if isinstance(told, Mapping) else None)
    return (
        {key: getattr(found, key, None) or found.get(key) for key in ("path", "port")}
        if found
        else {}
    )


def _path(told: str | None, default: str) -> str:
    path = (told or "").strip() or default
    return path if path.startswith("/") else f"/{path}"


def _packages_of(model: FetchedModel) -> dict[str, str]:
    """What serves a model without a script: what the files of an MLflow model ask for, or what Triton's need."""
    if model.type == TRITON:
        return {"curated_name": TRITON_ENVIRONMENT}
    for name, kind in (("conda.yaml", "conda_text"), ("requirements.txt", "requirements_text")):
        path = model.path / name
        if path.is_file():
            return {kind: path.read_text(encoding="utf-8"), "folder": str(model.path)}
    raise UsageFault(
        f"The MLflow model {model.path} has neither conda.yaml nor requirements.txt, which say what to install. Give "
        "environment."
    )


def _conda(environment: Environment) -> dict[str, str]:
    """The file as it is written, which `-r more.txt` in it is relative to; else what the SDK has read."""
    path = conda_path(environment)
    if path is not None:
        return {"conda_text": path.read_text(encoding="utf-8"), "folder": str(path.parent)}
    return {"conda_text": yaml.safe_dump(plain(environment.conda_file), sort_keys=False)}
