"""What runs a local deployment, wherever it runs: its record says whether that is a process or a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cli.local import containers, server
from cli.local.builds import Built
from cli.local.ports import USUAL_DEBUG_PORT, free_port
from cli.local.records import DOCKER, DeploymentRecord, Failure
from cli.local.wishes import Wish


def prepared(
    record: DeploymentRecord, before: DeploymentRecord | None, wish: Wish
) -> DeploymentRecord:
    """With the debugger's port, and the path that is scored."""
    if wish.surroundings.routes is not None:
        record = replace(record, scoring_path=wish.surroundings.routes.scoring_path)
    if wish.is_debugged:
        usual = before.debug_port if before is not None else 0
        record = replace(record, debug_port=free_port(usual or USUAL_DEBUG_PORT))
    return record


def bring_up(
    record: DeploymentRecord, wish: Wish, built: Built, own: Mapping[str, str]
) -> tuple[DeploymentRecord, Failure | None]:
    """Start it and wait until it is ready; the record with what runs, and why it never became ready."""
    if record.runtime == DOCKER:
        return containers.bring_up(record, wish, built)
    return server.bring_up(record, wish, built, own)


def stop(record: DeploymentRecord) -> None:
    """End it and all it started; nothing there is success."""
    if record.runtime == DOCKER:
        containers.stop(record)
    else:
        server.stop(record)


def failure_now(record: DeploymentRecord) -> Failure | None:
    """Why a deployment that once came up does not serve any more; None while it does."""
    if record.runtime == DOCKER:
        return containers.failure_now(record)
    return server.failure_now(record)


def tail(record: DeploymentRecord, lines: int) -> tuple[str, ...]:
    """The last lines of its console."""
    if record.runtime == DOCKER:
        return containers.tail(record, lines)
    return server.tail(record, lines)
