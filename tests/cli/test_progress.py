"""What a terminal and a CI log see of a long operation."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

from cli.progress import Progress, phase_line, running_line

BEGUN = "2026-01-01T10:00:00.000000Z"
ENDED = "2026-01-01T10:00:12.400000Z"


def phase(name: str, state: str = "Succeeded", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "startTime": BEGUN, "endTime": ENDED, **more}


def operation(*phases: dict[str, Any]) -> dict[str, Any]:
    return {"status": "InProgress", "properties": {"phases": list(phases)}}


def test_each_phase_is_told_once_when_it_has_ended() -> None:
    log = io.StringIO()
    progress = Progress(stream=log)
    with progress.of("Creating deployment 'blue'"):
        progress.hear(operation(phase("Validate", "Running")))
        progress.hear(operation(phase("Validate"), phase("Build environment", "Running")))
        progress.hear(operation(phase("Validate"), phase("Build environment")))
    assert log.getvalue().splitlines() == [
        "Creating deployment 'blue'",
        "  Validate              12.4 s",
        "  Build environment     12.4 s",
    ]


def test_a_failed_phase_is_marked() -> None:
    assert phase_line(phase("Load model", "Failed")).endswith("12.4 s   failed")


def test_the_running_phase_says_how_long_it_usually_takes() -> None:
    now = datetime(2026, 1, 1, 10, 0, 30, tzinfo=UTC)
    line = running_line(phase("Build environment", "Running", expectedSeconds=45.2), now)
    assert line.endswith("30 s so far (usually 45 s)")


def test_other_operations_and_quiet_commands_say_nothing() -> None:
    log = io.StringIO()
    with Progress(stream=log).of("Deleting"):
        Progress(stream=log).hear({"status": "InProgress"})
    quiet = Progress(is_quiet=True, stream=log)
    with quiet.of("Creating"):
        quiet.hear(operation(phase("Validate")))
    assert log.getvalue() == ""
