"""The monthly parts of the minute tables: made before the first row comes, dropped whole when they are old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection, transaction

TABLES = ("monitoring_trafficminute", "monitoring_usageminute")
MAKING = 0x706F7274
"""Key of the advisory lock."""


def ensure(moments: Iterable[datetime]) -> None:
    """Make the parts that rows of these moments go to; `OperationalError` when a table is busy for too long."""
    months = {(moment.astimezone(UTC).year, moment.astimezone(UTC).month) for moment in moments}
    wanted = {
        f"{table}_{year:04}{month:02}": (table, year, month)
        for table in TABLES
        for year, month in months
    }
    if wanted.keys() <= set(_parts()):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        # One maker at a time; and readers queue behind a maker, so it must not wait long for one before it.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MAKING])
        for name in sorted(wanted.keys() - set(_parts())):
            table, year, month = wanted[name]
            _make(table, name, _first(year, month), _first(*_following(year, month)))


def drop_before(moment: datetime) -> list[str]:
    """Drop the parts that end before `moment`; their names."""
    moment = moment.astimezone(UTC)
    limit = f"{moment.year:04}{moment.month:02}"
    dropped = [name for name in _parts() if name[-6:] < limit]
    with connection.cursor() as cursor:
        for name in dropped:
            cursor.execute(f'DROP TABLE IF EXISTS "{name}"')
    return dropped


def _make(table: str, name: str, begin: datetime, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f'CREATE TABLE "{name}" PARTITION OF "{table}" '
            f"FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
        )


def _parts() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid "
            "JOIN pg_class parent ON parent.oid = inhparent WHERE parent.relname = ANY(%s)",
            [list(TABLES)],
        )
        return sorted(name for (name,) in cursor.fetchall())


def _first(year: int, month: int) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


def _following(year: int, month: int) -> tuple[int, int]:
    return (year, month + 1) if month < 12 else (year + 1, 1)
