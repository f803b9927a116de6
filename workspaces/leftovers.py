"""What uploads and deleted assets leave behind: found by what nothing points to, and removed after a day.

An asset points to a tree, a tree to its files, and an upload that is not registered yet to its file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.apps import apps
from django.db.models import CharField, Q
from django.utils import timezone

from workspaces import storage, uploads
from workspaces.errors import NotFound
from workspaces.models import UploadedFile
from workspaces.shelf import TRASH, Bucket, Shelf, restored, shelf

logger = logging.getLogger(__name__)

KEPT = timedelta(days=1)
"""How long an upload waits to be registered; what nothing points to waits as long, then once more in the trash."""
COPIES_KEPT = timedelta(days=7)
AT_ONCE = 1000


@dataclass(frozen=True)
class Swept:
    """How many of each were removed."""

    uploads: int = 0
    pieces: int = 0
    objects: int = 0


def sweep() -> Swept:
    """May run at any time and be killed at any line; a second run goes on where it was."""
    storage.remove_old_drafts(older_than=KEPT)
    place = shelf()
    if isinstance(place, Bucket):
        place.forget_copies(unused_seconds=COPIES_KEPT.total_seconds())
    pieces = uploads.drop_old_pieces(older_than=KEPT)
    needed = _needed_by_assets()
    forgotten = _forget_unregistered(needed)
    needed |= {
        f"blobs/{sha256[:2]}/{sha256}"
        for sha256 in UploadedFile.objects.values_list("sha256", flat=True).iterator()
    }
    swept = Swept(forgotten, pieces, _clear(place, needed))
    if swept != Swept():
        logger.info(
            "removed %s unregistered uploads, %s pieces and %s stored files",
            swept.uploads,
            swept.pieces,
            swept.objects,
        )
    return swept


def _needed_by_assets() -> set[str]:
    """Names of the trees that rows point to, and of the files in them."""
    found: set[str] = set()
    for content_hash in _hashes():
        name = f"trees/{content_hash[:2]}/{content_hash}.json"
        if name in found:
            continue
        try:
            entries = storage.entries(content_hash)
        except NotFound:
            continue  # no tree, or a lost one, which its page says
        found.add(name)
        found.update(f"blobs/{entry.sha256[:2]}/{entry.sha256}" for entry in entries)
    return found


def _hashes() -> Iterator[str]:
    """Every value of 64 hex digits in a column named …_hash, of whatever table: better one too many is kept."""
    for model in apps.get_models():
        for column in model._meta.local_concrete_fields:
            is_hash = column.name.endswith("_hash") and isinstance(column, CharField)
            if is_hash and column.max_length == 64:
                rows = model._base_manager.exclude(**{column.name: ""})
                yield from rows.values_list(column.name, flat=True).distinct().iterator()


def _forget_unregistered(needed: set[str]) -> int:
    """Remove the names of uploads that nobody registered; files elsewhere in the datastore are the user's."""
    places = Q(path__startswith=f"{uploads.UPLOADS}/") | Q(container__startswith="code-")
    rows = UploadedFile.objects.filter(places, changed_at__lt=timezone.now() - KEPT)
    old = [
        pk
        for pk, sha256 in rows.values_list("pk", "sha256").iterator()
        if f"blobs/{sha256[:2]}/{sha256}" not in needed
    ]
    removed = 0
    for start in range(0, len(old), AT_ONCE):
        # Again by age: what was uploaded anew meanwhile stays.
        chunk = rows.filter(pk__in=old[start : start + AT_ONCE])
        removed += chunk.delete()[0]
    return removed


def _clear(place: Shelf, needed: set[str]) -> int:
    """Move to the trash what nothing needs, and empty the trash of what was moved there a day ago."""
    limit = KEPT.total_seconds()
    for folder in ("blobs", "trees"):
        for found in place.walk(folder):
            if found.name not in needed and found.age_seconds > limit:
                place.move(found.name, f"{TRASH}/{found.name}")
    removed = 0
    for found in place.walk(TRASH):
        name = found.name.removeprefix(f"{TRASH}/")
        if name in needed:
            restored(place, name)
        elif found.age_seconds > limit:
            place.remove(found.name)
            removed += 1
    return removed
