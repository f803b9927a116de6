"""Looking at an environment before anything is built: what its files mean, on demand which versions fit together."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from deployments.computes import runs_containers
from deployments.containers import needs_engine
from deployments.environments.conda import Translation
from deployments.environments.process import Cancelled
from deployments.environments.resolving import Lock
from deployments.environments.specification import EnvironmentSpec, hash_of, translate
from deployments.installation import environments
from deployments.staging import environment_spec_for, environment_spec_of
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion, ModelVersion

CHECK_SECONDS = 25
"""A page waits thirty; the build itself may take longer."""
# Resolving takes a core: two at a time leave the pages theirs.
_room = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Checked:
    """What is known without building."""

    translation: Translation | None
    """None for an image or a build context that brings its packages itself."""
    is_built: bool = False
    """As a folder of this machine, for deployments that run as processes."""
    lock: Lock | None = None
    """The versions, where they were asked for."""


def packages_of(
    wanted: EnvironmentVersion | None, model: ModelVersion | None = None, *, has_code: bool = True
) -> Translation | None:
    """What the packages are; None where an image brings them. Raises `UserError`."""
    if wanted is not None and _brings_packages(wanted):
        return None
    return translate(environment_spec_for(wanted, model, has_code=has_code))


def check_environment(version: EnvironmentVersion, *, resolves: bool = False) -> Checked:
    """With `resolves`, versions are looked up: up to `CHECK_SECONDS`. Raises `UserError` and `BuildFailed`."""
    if _brings_packages(version):
        return Checked(None)
    spec = environment_spec_of(version)
    translation = translate(spec)
    is_built = environments().find(hash_of(translation)) is not None
    return Checked(translation, is_built, resolve(spec) if resolves else None)


def _brings_packages(version: EnvironmentVersion) -> bool:
    """Whether its image has its packages already, and can be run here."""
    has_packages = bool(version.conda_file or version.requirements)
    return (
        needs_engine(version)
        and not has_packages
        and runs_containers(version.environment.workspace)
    )


def resolve(spec: EnvironmentSpec) -> Lock:
    """The lock of the environment, found within `CHECK_SECONDS`; it is kept for the build."""
    if not _room.acquire(timeout=1):
        raise UserError("Other checks are running. Try again in a few seconds.", status=409)
    until = time.monotonic() + CHECK_SECONDS
    try:
        return environments().lock(spec, cancel=lambda: time.monotonic() > until)
    except Cancelled:
        raise UserError(
            f"Finding versions takes longer than {CHECK_SECONDS} s here. The build has more time: deploy it and "
            "follow the log."
        ) from None
    finally:
        _room.release()
