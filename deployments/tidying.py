"""Takes away what nothing needs any more: old environments, files of deployments that are gone, broken-off uploads."""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta

from django.conf import settings

from deployments.engine_surveys import survey_engines
from deployments.engines import runtime_name
from deployments.environments import content_hash
from deployments.installation import all_image_stores, environments
from deployments.models import DebugSession, OnlineDeployment
from deployments.staging import environment_spec
from workspaces import access, leftovers
from workspaces.errors import Forbidden, UserError
from workspaces.models import User

logger = logging.getLogger(__name__)

UNUSED_ENVIRONMENTS_KEPT = timedelta(days=7)
# For a build that has ended, and whose revision does not name its image yet.
FRESH_IMAGES_SPARED = timedelta(minutes=10)


def tidy() -> None:
    """May run at any time and be killed at any line; what is in use is never touched."""
    environments().prune(
        environments_in_use(), grace_seconds=UNUSED_ENVIRONMENTS_KEPT.total_seconds()
    )
    _forget_images()
    _forget_files_of_gone_deployments()
    leftovers.sweep()


def prune_package_cache() -> None:
    """Take out of uv's cache what no build can use any more; what environments have linked stays theirs."""
    told = environments().prune_cache()
    if told:
        logger.info("package cache: %s", told)


def remove_unused_images(*, by: User) -> dict[str, int]:
    """Remove at once the images that `tidy` would keep for a week; the keys of those that went, with their bytes.

    May be repeated. Takes as long as the engine needs to delete them. Raises `Forbidden` unless `by` administers the
    installation, and `UserError` without an engine that answers.
    """
    if not access.reaches_all(by):
        raise Forbidden(
            "Images belong to all workspaces. Ask an administrator of this installation to remove unused ones.",
            target="images",
        )
    stores = all_image_stores()
    if not stores:
        raise UserError(
            "This installation runs no containers, so it has no images to remove.", target="images"
        )
    # The first is the one that builds: a silent one is told of at once, not when the deletion runs out of time.
    where = survey_engines(is_fresh=True)[0]
    if where.away and runtime_name() == "docker":
        raise UserError(
            f"The Docker engine {where.name} does not answer: {where.away}. Start it, then remove the images.",
            target="images",
            status=503,
        )
    removed: dict[str, int] = {}
    for store in stores:
        sizes = store.sizes()
        gone = store.prune(images_in_use(), grace_seconds=FRESH_IMAGES_SPARED.total_seconds())
        removed |= {key: sizes.get(key, 0) for key in gone}
    logger.info("user %s removed %d unused images", by.pk, len(removed))
    return removed


def environments_in_use() -> set[str]:
    """Content hashes of the environments that wanted or serving revisions need."""
    found = set()
    rows = OnlineDeployment.objects.select_related(
        "revision__environment_version",
        "revision__model_version__model",
        "serving_revision__environment_version",
        "serving_revision__model_version__model",
    )
    for deployment in rows:
        for revision in (deployment.revision, deployment.serving_revision):
            if revision is None:
                continue
            try:
                found.add(content_hash(environment_spec(revision)))
            except UserError:
                continue  # such a revision never had an environment
    return found


def images_in_use() -> set[str]:
    """Ids of the images that wanted, serving or debugged revisions run in."""
    rows = OnlineDeployment.objects.values_list("revision__image", "serving_revision__image")
    debugged = DebugSession.objects.values_list("revision__image")
    return {image for row in (*rows, *debugged) for image in row if image}


def _forget_images() -> None:
    for store in all_image_stores():
        try:
            store.prune(images_in_use(), grace_seconds=UNUSED_ENVIRONMENTS_KEPT.total_seconds())
        except UserError as error:
            logger.info(
                "images on %s are tidied later: %s", store.settings.address.url, error.message
            )


def _forget_files_of_gone_deployments() -> None:
    if not settings.DEPLOYMENTS_ROOT.is_dir():
        return
    # Folders first: a deployment made meanwhile has its row before its folder.
    folders = [folder for folder in settings.DEPLOYMENTS_ROOT.iterdir() if folder.name.isdecimal()]
    alive = set(OnlineDeployment.objects.values_list("pk", flat=True))
    for folder in folders:
        if int(folder.name) not in alive:
            logger.info("removing the files of deployment %s, which is gone", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
