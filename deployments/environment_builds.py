"""Building registered environments before any deployment asks for them: the wish, and what the worker does with it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from deployments import containers
from deployments.doorbell import ring_build
from deployments.engines import runtime_name
from deployments.environments.failures import BuildFailed
from deployments.environments.process import Cancelled
from deployments.failures import Failure, from_build, from_user_error
from deployments.images.specification import ImageSpec
from deployments.installation import environments, images
from deployments.models import EnvironmentBuild, Phase
from deployments.phases import RowLog
from deployments.staging import environment_spec_of
from workspaces import storage
from workspaces.activity import record
from workspaces.errors import Conflict, UserError
from workspaces.models import EnvironmentVersion, User

MOST_ATTEMPTS = 3
KEPT = 50
"""Builds of one version that are remembered."""
PHASE = str(Phase.Name.BUILD_ENVIRONMENT)


@dataclass(frozen=True)
class Outcome:
    """The state in which a build ends, and what is written with it."""

    to: str
    changes: dict[str, Any] = field(default_factory=dict)


def start_build(version: EnvironmentVersion, *, by: User | None) -> EnvironmentBuild:
    """Want the environment built for the runtime of new deployments; the build that waits or runs, if there is one."""
    environment = version.environment
    with transaction.atomic():
        EnvironmentVersion.objects.select_for_update().get(pk=version.pk)
        running = version.builds.filter(state__in=EnvironmentBuild.OPEN).first()
        if running is not None:
            return running
        older = version.builds.values_list("pk", flat=True)[KEPT - 1 :]
        EnvironmentBuild.objects.filter(pk__in=list(older)).delete()
        build = EnvironmentBuild.objects.create(
            environment_version=version,
            state=EnvironmentBuild.State.QUEUED,
            runtime=runtime_name(),
            due_at=timezone.now(),
            created_by=by,
        )
        ring_build(build.pk)
        record(environment.workspace, "build", version, by=by, after={"build": build.pk})
    return build


def cancel_build(build: EnvironmentBuild, *, by: User | None) -> None:
    """Ask it to stop. `Conflict` for one that has ended."""
    asked = EnvironmentBuild.objects.filter(pk=build.pk, state__in=EnvironmentBuild.OPEN).update(
        cancel_requested=True, due_at=timezone.now()
    )
    if not asked:
        raise Conflict(
            f"The build is {build.current_state()}; there is nothing to cancel.", target="state"
        )
    ring_build(build.pk)
    version = build.environment_version
    record(
        version.environment.workspace,
        "cancel build of",
        version,
        by=by,
        after={"build": build.pk},
    )


def run_build(build: EnvironmentBuild, lost: threading.Event) -> Outcome | None:
    """Build it, as the worker that holds its lease; None when the lease was lost meanwhile.

    May run again after a worker was killed: what was built is found, what was left half is cleared.
    """
    build.attempts += 1
    build.started_at = build.started_at or timezone.now()
    EnvironmentBuild.objects.filter(pk=build.pk, lease_token=build.lease_token).update(
        attempts=build.attempts, started_at=build.started_at
    )
    log = RowLog(build)
    context = settings.STAGED_ROOT / f"build-{build.pk}"

    def is_cancelled() -> bool:
        return (
            lost.is_set()
            or EnvironmentBuild.objects.filter(pk=build.pk, cancel_requested=True).exists()
        )

    try:
        if is_cancelled():
            raise Cancelled
        if build.attempts > MOST_ATTEMPTS:
            raise UserError(
                f"It was begun {MOST_ATTEMPTS} times and never ended: workers stopped meanwhile. Build it again.",
                code="InternalServerError",
            )
        if build.attempts > 1:
            log(f"The worker ended before the build did; attempt {build.attempts}")
        result = _made(build, context, log, is_cancelled)
        if result["was_cached"]:
            log("It was built before; it is used again.")
    except Cancelled:
        return None if lost.is_set() else _ended(EnvironmentBuild.State.CANCELED)
    except BuildFailed as error:
        return _failed(from_build(error.failure, PHASE))
    except UserError as error:
        return _failed(from_user_error(error, PHASE))
    finally:
        log.flush()
        shutil.rmtree(context, ignore_errors=True)
    return _ended(EnvironmentBuild.State.SUCCEEDED, failure={}, **result)


def image_spec_of(version: EnvironmentVersion, context: Path) -> ImageSpec:
    """The image that a deployment with a script would run in; a build context is laid out in `context`."""
    if not (version.image or version.build_context_hash):
        return ImageSpec(environment=environment_spec_of(version))
    if version.build_context_hash:
        storage.materialise(version.build_context_hash, context)
    has_packages = bool(version.conda_file or version.requirements)
    return containers.image_spec(
        version,
        packages=environment_spec_of(version) if has_packages else None,
        context=context,
        is_custom=containers.is_custom(version, None, has_code=True),
    )


def _made(build: EnvironmentBuild, context: Path, log: Any, cancel: Any) -> dict[str, Any]:
    """What is remembered of the result."""
    version = build.environment_version
    if build.runtime == "docker":
        image = images().build(image_spec_of(version, context), log, cancel)
        return {
            "image": image.reference,
            "key": image.key,
            "python_version": image.python_version,
            "size_bytes": image.size_bytes or None,
            "was_cached": image.was_cached,
            "warnings": list(image.warnings),
        }
    built = environments().build(environment_spec_of(version), log, cancel)
    return {
        "key": built.key,
        "python_version": built.python_version,
        "size_bytes": environments().size(built.key),
        "was_cached": built.was_cached,
        "warnings": list(built.warnings),
    }


def _failed(failure: Failure) -> Outcome:
    return _ended(EnvironmentBuild.State.FAILED, failure=failure.as_dict())


def _ended(state: str, **changes: Any) -> Outcome:
    return Outcome(state, {"ended_at": timezone.now(), **changes})
