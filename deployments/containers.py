"""What an environment means where deployments run as containers: its image, and how a custom one is reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployments.environments.specification import EnvironmentSpec
from deployments.images.specification import ImageSpec
from deployments.mlflow_models import is_served_alone
from deployments.triton import is_repository
from workspaces.models import EnvironmentVersion, ModelVersion

DEFAULT_PORT = 5001
"""Of an image that says nothing else: where Azure's inference server listens."""


@dataclass(frozen=True)
class Routes:
    """Where a custom container answers inside (facts 5.4)."""

    scoring_path: str
    port: int
    liveness_path: str
    liveness_port: int
    readiness_path: str
    readiness_port: int


def needs_engine(environment: EnvironmentVersion | None) -> bool:
    """Whether it is nothing that packages alone could stand for: a custom container, a Dockerfile, a bare image."""
    if environment is None:
        return False
    has_packages = bool(environment.conda_file or environment.requirements or environment.curated)
    return bool(
        environment.inference_config
        or environment.build_context_hash
        or (environment.image and not has_packages)
    )


def is_custom(
    environment: EnvironmentVersion | None, model: ModelVersion | None, *, has_code: bool
) -> bool:
    """Whether the image's own command serves: it says so, or nothing else could."""
    if environment is None:
        return False
    if environment.inference_config:
        return True
    is_alone = is_served_alone(model, has_code=has_code) or is_repository(model, has_code=has_code)
    return needs_engine(environment) and not has_code and not is_alone


def scoring_path(
    environment: EnvironmentVersion | None, model: ModelVersion | None, *, has_code: bool
) -> str:
    """Where `/score` leads inside."""
    if environment is None or not is_custom(environment, model, has_code=has_code):
        return "/score"
    return routes(environment).scoring_path


def routes(environment: EnvironmentVersion) -> Routes:
    """With the inference server's own for what is not said."""
    told = environment.inference_config
    scoring = told.get("scoring_route", {})
    port = int(scoring.get("port") or DEFAULT_PORT)
    liveness = told.get("liveness_route", {})
    readiness = told.get("readiness_route", liveness)
    return Routes(
        scoring_path=_path(scoring.get("path"), "/score"),
        port=port,
        liveness_path=_path(liveness.get("path"), "/"),
        liveness_port=int(liveness.get("port") or port),
        readiness_path=_path(readiness.get("path"), "/"),
        readiness_port=int(readiness.get("port") or port),
    )


def image_spec(
    environment: EnvironmentVersion,
    *,
    packages: EnvironmentSpec | None,
    context: Path,
    is_custom: bool,
) -> ImageSpec:
    """The image of an environment that names one; `context` is where its build context lies."""
    if environment.build_context_hash:
        return ImageSpec(
            context=context,
            context_hash=environment.build_context_hash,
            dockerfile=environment.dockerfile_path or "Dockerfile",
            cache_scope=str(environment.environment.workspace_id),
            is_custom=is_custom,
        )
    return ImageSpec(image=environment.image, environment=packages, is_custom=is_custom)


def _path(told: str | None, default: str) -> str:
    path = (told or "").strip() or default
    return path if path.startswith("/") else f"/{path}"
