"""`ml job …`"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from itertools import islice
from typing import Any

from azure.ai.ml import load_job
from azure.ai.ml.constants import ListViewType

from cli.session import Session
from cli.yaml_files import dump, load_entity


def create(
    session: Session,
    name: str | None,
    file: str,
    sets: list[str] | None,
    stream: bool,
) -> Any:
    job = load_entity(load_job, file, {"name": name}, sets)
    made = session.ml.jobs.create_or_update(job)
    if stream:
        _stream(session, made.name)
        made = session.ml.jobs.get(made.name)
    return dump(made)


def show(session: Session, name: str) -> Any:
    return dump(session.ml.jobs.get(name))


def list_all(
    session: Session,
    max_results: int | None,
    parent_job_name: str | None,
    archived_only: bool,
    include_archived: bool,
) -> Any:
    view = ListViewType.ACTIVE_ONLY
    if archived_only:
        view = ListViewType.ARCHIVED_ONLY
    elif include_archived:
        view = ListViewType.ALL
    rows = session.ml.jobs.list(parent_job_name=parent_job_name, list_view_type=view)
    return [dump(row) for row in islice(rows, max_results)]


def stream(session: Session, name: str) -> None:
    """The job's log until it ends; a failed job is a failed command."""
    _stream(session, name)


def cancel(session: Session, name: str, no_wait: bool) -> None:
    poller = session.ml.jobs.begin_cancel(name)
    session.finish(poller, f"Canceling job '{name}'", no_wait=no_wait)


def download(
    session: Session, name: str, output_name: str | None, download_path: str, all: bool
) -> None:
    session.ml.jobs.download(name, download_path=download_path, output_name=output_name, all=all)


def update(
    session: Session,
    name: str,
    display_name: str | None,
    description: str | None,
    tags: Mapping[str, str] | None,
) -> Any:
    changes = {"display_name": display_name, "description": description, "tags": tags}
    given = {key: value for key, value in changes.items() if value is not None}
    return dump(session.ml.jobs.update(name, **given))


def set_archived(session: Session, name: str, is_archived: bool) -> None:
    verb = session.ml.jobs.archive if is_archived else session.ml.jobs.restore
    verb(name)


def _stream(session: Session, name: str) -> None:
    with redirect_stdout(session.output):
        session.ml.jobs.stream(name)
