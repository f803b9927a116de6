"""Builds environments and images by the programs that the portal builds them with: nothing of the house is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.local import engine, programs
from cli.local.failures import BUILD, DeploymentFailed, in_words
from cli.local.packages import package_settings
from cli.local.programs import Tell
from cli.local.records import Failure, environments_root

ENVIRONMENTS, IMAGES = "deployments.environments", "deployments.images"
WITHOUT_IMAGE = "Run it in a process, without the image: PORTICO_LOCAL_RUNTIME=process"


@dataclass(frozen=True)
class Built:
    """What the workers' interpreter is in: an environment of this machine, or an image."""

    python: str
    """Path of the interpreter, inside the image if there is one; empty for a custom container."""
    warnings: tuple[str, ...]
    image: str = ""


def build(spec: Mapping[str, str], *, script: Path | None, tell: Tell) -> Built:
    """The environment for `spec` (`conda_text` and `folder`, or `curated_name`, or nothing), built if it is missing.

    `tell` gets the lines of the build log. Raises `DeploymentFailed`.
    """
    environments_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    order = {
        "root": str(environments_root()),
        "spec": dict(spec),
        "settings": {**package_settings(), "for_others": False},
        "script": str(script or ""),
    }
    built = _answer(programs.run(ENVIRONMENTS, order, tell=tell))
    return Built(built["python"], tuple(built["warnings"]))


def build_image(spec: Mapping[str, Any], *, tell: Tell) -> Built:
    """The image for `spec` (by the names of the program's orders), made or fetched if it is missing."""
    order = {
        **engine.marks(),
        "spec": dict(spec),
        "settings": {**package_settings(), "for_others": False},
    }
    # What has packages beside its image can do without the image.
    way_out = (WITHOUT_IMAGE,) if spec.get("environment") else ()
    built = _answer(programs.run(IMAGES, order, tell=tell), ways_out=way_out)
    return Built(built["python"], tuple(built["warnings"]), built["reference"])


def _answer(said: Mapping[str, Any], *, ways_out: tuple[str, ...] = ()) -> dict[str, Any]:
    if "failed" in said:
        failed = said["failed"]
        raise DeploymentFailed(
            Failure(
                failed["code"],
                failed["message"],
                tuple(failed["evidence"]),
                (*in_words(failed["fixes"]), *ways_out),
            ),
            BUILD,
        )
    built: dict[str, Any] = said["built"]
    return built
