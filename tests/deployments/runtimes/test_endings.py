"""Why an instance ended, case by case; and the table of runtimes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.runtimes import load
from deployments.runtimes.endings import Ending, in_words
from deployments.runtimes.fake import FakeRuntime
from deployments.runtimes.limits import MemoryFigures
from deployments.runtimes.printable import printable
from deployments.runtimes.records import ServerStatus, read_server_status, told_status

GIB = 1024**3
FAILED = ServerStatus(state="failed", code="UserScriptImportError", message="No module 'x'.")
CALM = MemoryFigures(used_bytes=0, peak_bytes=GIB, killed=0)
KILLED = MemoryFigures(used_bytes=0, peak_bytes=2 * GIB, killed=1)
ENDED = Ending(server=ServerStatus(), memory=CALM, memory_limit_bytes=2 * GIB)


@pytest.mark.parametrize(
    ("ending", "code", "reason"),
    [
        (replace(ENDED, memory=KILLED), "OutOfMemory", "Killed at 2.0 GiB, limit 2.0 GiB."),
        (
            replace(ENDED, memory=None, evidence=("MemoryError",), server=FAILED),
            "OutOfMemory",
            "A process ran into its memory limit of 2.0 GiB.",
        ),
        (replace(ENDED, server=FAILED, exit_code=3), "UserScriptImportError", "No module 'x'."),
        (
            replace(ENDED, failure="/x does not exist."),
            "InternalServerError",
            "It could not be started: /x does not exist.",
        ),
        (
            replace(ENDED, signal_number=11, exit_code=139),
            "ResourceNotReady",
            "The inference server was ended by SIGSEGV.",
        ),
        (
            replace(ENDED, signal_number=9, exit_code=137),
            "ResourceNotReady",
            "The inference server was ended by SIGKILL from outside; no want of memory was reported.",
        ),
        (
            replace(ENDED, memory=None, signal_number=9, exit_code=137),
            "ResourceNotReady",
            "The inference server was ended by SIGKILL.",
        ),
        (
            replace(ENDED, server=ServerStatus(state="stopping"), exit_code=0),
            "ResourceNotReady",
            "The inference server was told to stop from outside, and ended.",
        ),
        (
            replace(ENDED, exit_code=1),
            "ResourceNotReady",
            "The inference server ended with code 1.",
        ),
        (
            replace(ENDED, signal_number=40),
            "ResourceNotReady",
            "The inference server was ended by signal 40.",
        ),
        (
            replace(ENDED, signal_number=33, exit_code=161),
            "ResourceNotReady",
            "The inference server ended with code 161.",
        ),
        (ENDED, "ResourceNotReady", "The inference server is gone; how it ended is not known."),
    ],
)
def test_the_likeliest_cause_is_told_first(ending: Ending, code: str, reason: str) -> None:
    assert ending.why() == (code, reason)


def test_what_was_printed_is_no_evidence_of_an_end_from_outside() -> None:
    ending = replace(ENDED, evidence=("ValueError: long ago",), exit_code=137)
    assert replace(ending, signal_number=9).told_evidence() == ()
    assert replace(ending, signal_number=9, memory=KILLED).told_evidence() == ending.evidence
    assert replace(ending, signal_number=11).told_evidence() == ending.evidence


def test_sizes_are_written_as_people_read_them() -> None:
    assert [in_words(size) for size in (96 * 1024**2, 2 * GIB)] == ["96 MiB", "2.0 GiB"]


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"state": 7, "evidence": {}}', "\udcff", "[" * 60_000]
)
def test_a_status_file_of_nonsense_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text, errors="surrogateescape")

    assert read_server_status(tmp_path / "status.json") == ServerStatus()


def test_what_a_status_says_can_be_stored_and_shown() -> None:
    told = {
        "code": "x\0",
        "message": "\x1b[31mred\x1b[0m \ud800",
        "evidence": ["a\x9b\tb", "\x07"],
    }
    status = told_status(json.dumps(told))
    assert (status.code, status.message) == ("x\ufffd", "red \ufffd")
    assert status.evidence == ("a\ufffd\tb", "\ufffd")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich 東京 \N{GRINNING FACE}", "Zürich 東京 \N{GRINNING FACE}"),
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]0;a title without end", ""),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("a lonely \x1b", "a lonely \ufffd"),
    ],
)
def test_nothing_for_a_terminal_is_left_in_a_text(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_status_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"message": "s3cret"}')
    (tmp_path / "status.json").symlink_to(tmp_path / "secret")

    assert read_server_status(tmp_path / "status.json") == ServerStatus()


def test_a_runtime_is_loaded_by_name() -> None:
    assert isinstance(load("fake"), FakeRuntime)


def test_an_unknown_runtime_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no runtime called 'nomad'\. Known: .*fake.*process"):
        load("nomad")
