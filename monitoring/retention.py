"""Lets go of what is too old: minute figures by whole months, hours in batches, log segments by age and size."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection
from django.utils import timezone

from monitoring import partitions, segments

MINUTES_KEPT = timedelta(days=93)
"""As long as Azure keeps metrics (facts 9.2)."""
HOURS_KEPT = timedelta(days=800)
SEGMENTS_KEPT = timedelta(days=30)
BATCH_ROWS = 5000

DELETE_HOURS_SQL = """
DELETE FROM monitoring_traffichour WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM monitoring_traffichour WHERE at < %s LIMIT %s
))
"""


def prune() -> None:
    """Let go of figures whose time is over; may be repeated, and stopped anywhere."""
    now = timezone.now()
    # Ahead of time, so that no row has to wait for the lock that a new part takes.
    partitions.ensure([now, now + timedelta(days=7)])
    partitions.drop_before(now - MINUTES_KEPT)
    prune_hours(now - HOURS_KEPT)


def prune_hours(before: datetime) -> int:
    """Delete hour figures from before that time; how many."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(DELETE_HOURS_SQL, [before, BATCH_ROWS])
            deleted: int = cursor.rowcount
        total += deleted
        if deleted < BATCH_ROWS:
            return total


def prune_segments(root: Path, *, before: datetime, in_use: Collection[Path]) -> int:
    """Delete segments whose newest line is from before that time, and the oldest ones of a log that is too large.

    The newest segment of a folder `in_use` stays: it is being written to, and carries the cursors on.
    """
    deleted = 0
    for folder in root.glob("*/*/"):
        found = segments.segments(folder)
        if folder not in in_use and all(
            segments.modified(segment.path) < before for segment in found
        ):
            shutil.rmtree(folder, ignore_errors=True)
            deleted += len(found)
            continue
        deleted += segments.drop_oldest(folder, before=before)
    return deleted
