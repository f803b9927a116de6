"""Which images this installation has made and what for, for people who look."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from deployments.engines import runtime_name
from deployments.images.records import Record, Records
from deployments.installation import image_records, images
from deployments.models import EnvironmentBuild, OnlineDeployment, Revision
from deployments.tidying import images_in_use
from workspaces.errors import UserError
from workspaces.models import Workspace


@dataclass(frozen=True)
class ImageSurvey:
    """One image that was built here."""

    key: str
    reference: str
    python_version: str
    size_bytes: int
    """With all its layers, also those that others share."""
    is_used: bool
    """Whether a deployment of any workspace runs in it or is to."""
    made_for: tuple[str, ...]
    """Deployments (`endpoint / deployment`) and environments (`name:version`) of one workspace."""


def noted_image(reference: str) -> Record | None:
    """What is noted of an image that was built here; no engine is asked."""
    if not reference:
        return None
    found = (Records(folder).of_reference(reference) for folder in image_records())
    return next((record for record in found if record is not None), None)


def survey_images(workspace: Workspace) -> list[ImageSurvey]:
    """All of them, the largest first, with what this workspace has them for.

    Raises `UserError` without containers, and when the engine does not answer.
    """
    if runtime_name() != "docker":
        raise UserError(
            "This installation runs no containers, so it has no images.", target="images"
        )
    store = images()
    used = images_in_use()
    names = _made_for(workspace)
    found = []
    for key, size_bytes in store.sizes().items():
        record = store.records.find(key)
        reference = record.reference if record else ""
        found.append(
            ImageSurvey(
                key,
                reference,
                record.python_version if record else "",
                size_bytes,
                is_used=bool({key, reference} & used),
                made_for=tuple(sorted(names.get(reference, ()))),
            )
        )
    return sorted(found, key=lambda image: (-image.size_bytes, image.key))


def _made_for(workspace: Workspace) -> dict[str, set[str]]:
    """Id of an image → names."""
    names: dict[str, set[str]] = defaultdict(set)
    deployments = OnlineDeployment.objects.filter(endpoint__workspace=workspace)
    rows = deployments.values_list(
        "revision__image", "serving_revision__image", "endpoint__name", "name"
    )
    for wanted, serving, endpoint, deployment in rows:
        for reference in {wanted, serving} - {None, ""}:
            names[reference].add(f"{endpoint} / {deployment}")
    own = {"environment_version__environment__workspace": workspace}
    named = {"environment_version__environment__is_anonymous": False}
    what = ("image", "environment_version__environment__name", "environment_version__version")
    for made in (Revision.objects, EnvironmentBuild.objects):
        for reference, name, version in (
            made.filter(**own, **named).exclude(image="").values_list(*what)
        ):
            names[reference].add(f"{name}:{version}")
    return names
