"""The record of who did what: one row per verb, with what it changed."""

from __future__ import annotations

from typing import Any

from workspaces.models import Activity, User, Workspace


def record(
    workspace: Workspace,
    verb: str,
    subject: object,
    *,
    by: User | None,
    endpoint_name: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    note: str = "",
) -> Activity:
    """Write the row; never put a key, token or file content into `before` or `after`."""
    return Activity.objects.create(
        workspace=workspace,
        actor=by,
        verb=verb,
        subject_type=type(subject).__name__,
        subject=str(subject)[:200],
        endpoint_name=endpoint_name,
        before=before or {},
        after=after or {},
        note=note,
    )
