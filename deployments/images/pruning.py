"""Removing what was built on an engine: images that nothing needs, and what dead builders left."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from deployments.environments import guard
from deployments.images import boxes
from deployments.images.records import Records
from deployments.images.settings import ImageSettings

LABEL = "portico.image"


def repository_of(settings: ImageSettings) -> str:
    """The name of all images that this installation builds."""
    return f"portico-{settings.installation}"


def own_images(client: APIClient, settings: ImageSettings) -> list[dict[str, Any]]:
    """What this installation has built on the engine, base images included."""
    label = f"portico.builder={settings.installation}"
    return list(client.images(filters={"label": label}))


@dataclass(frozen=True)
class Pruning:
    """`root` has the records, locks and guards of builds."""

    client: APIClient
    settings: ImageSettings
    root: Path

    def prune(self, keep: set[str], grace_seconds: float) -> tuple[str, ...]:
        """Remove what is not in `keep` (ids or keys), in no use and not asked for lately; the keys."""
        removed = []
        self._end_dead_builds()
        self._remove_dead_boxes()
        for image in own_images(self.client, self.settings):
            key = (image.get("Labels") or {}).get(LABEL, "")
            if (
                key
                and not {key, image["Id"]} & keep
                and self._remove(key, image["Id"], grace_seconds)
            ):
                removed.append(key)
        self._remove_leftovers(grace_seconds)
        return tuple(removed)

    def _remove(self, key: str, reference: str, grace_seconds: float) -> bool:
        """Remove one image unless it is guarded, in use or was asked for within the grace."""
        if Records(self.root).age_seconds(key) < grace_seconds:
            return False
        (self.root / "guards").mkdir(parents=True, exist_ok=True)
        with guard.hold_if_free(self.root / "guards" / f"{key}.lock") as held:
            if held is None:
                return False
            try:
                self.client.remove_image(reference)
            except NotFound:
                pass
            except APIError:
                return False  # a container runs on it
            Records(self.root).forget(key)
        return True

    def _end_dead_builds(self) -> None:
        """A step that says nothing would go on for ever: nobody who waits for it is left."""
        for path in (self.root / "guards").glob("*.lock"):
            guard.end_orphan(path)
        for folder in (self.root / "builds").glob("*"):
            with guard.hold_if_free(self.root / "guards" / f"{folder.name}.lock") as held:
                if held is not None:
                    shutil.rmtree(folder, ignore_errors=True)

    def _remove_dead_boxes(self) -> None:
        # By name: whatever runs on an image of ours has the image's labels as well.
        prefix = boxes.box_name(self.settings, "")
        for found in self.client.containers(all=True, filters={"name": f"^/?{prefix}"}):
            key = found["Names"][0].rpartition("-")[2]
            (self.root / "guards").mkdir(parents=True, exist_ok=True)
            with guard.hold_if_free(self.root / "guards" / f"{key}.lock") as held:
                if held is not None:
                    boxes.remove_container(self.client, found["Id"])

    def _remove_leftovers(self, grace_seconds: float) -> None:
        """Images of ours that lost their name, base images below nothing, caches of images that have gone."""
        label = f"portico.builder={self.settings.installation}"
        self.client.prune_images(filters={"dangling": True, "label": [label]})
        for image in own_images(self.client, self.settings):
            is_base = LABEL not in (image.get("Labels") or {})
            if is_base and time.time() - int(image["Created"]) > grace_seconds:
                with suppress(APIError):  # something stands on it
                    self.client.remove_image(image["Id"])
        here = {image["Id"].removeprefix("sha256:")[:12] for image in self.client.images()}
        prefix = f"{repository_of(self.settings)}-cache-"
        for volume in self.client.volumes(filters={"name": prefix})["Volumes"] or []:
            if volume["Name"].removeprefix(prefix) not in here:
                with suppress(APIError):  # a build uses it
                    self.client.remove_volume(volume["Name"])
