"""Console lines: their times, following them, and turning the file over without losing one."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.runtimes.console import last_lines, lines_since, stamp_of
from deployments.runtimes.launcher import rotate_console

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def stamp(milliseconds: int) -> str:
    moment = START + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d}"


def texts(folder: Path, since: datetime = START, *, is_over: bool = False) -> list[str]:
    lines = lines_since(folder, since, started_at=START, is_over=is_over)
    return [line.text for line in lines]


def test_a_line_has_the_time_it_begins_with() -> None:
    line = b"2026-01-31 12:00:00,250 I [17] azmlinfsrv.print - hello"

    assert stamp_of(line) == datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize("line", [b"", b"Traceback", b"2026-13-41 12:00:00,000 I", b"\xff\xfe"])
def test_a_line_of_another_form_has_no_time(line: bytes) -> None:
    assert stamp_of(line) is None


def test_a_line_without_a_stamp_has_the_time_of_the_line_before_it(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text(
        f"booting\n{stamp(1000)} E [1] x - failed\n  File one\n{stamp(2000)} I [1] x - on\n"
    )

    times = [line.time for line in lines_since(tmp_path, START, started_at=START, is_over=True)]

    later = START + timedelta(seconds=1)
    assert times == [START, later, later, START + timedelta(seconds=2)]
    assert texts(tmp_path, later)[0].endswith("failed")
    assert texts(tmp_path, later)[1] == "  File one"


def test_a_missing_console_has_no_lines(tmp_path: Path) -> None:
    assert texts(tmp_path / "nowhere") == []
    assert last_lines(tmp_path / "nowhere") == ()


def test_an_unfinished_line_waits_for_its_end_or_the_end_of_all(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text(f"{stamp(0)} I [1] x - whole\n{stamp(1)} I [1] x - ha")

    assert [text[-5:] for text in texts(tmp_path)] == ["whole"]
    assert [text[-4:] for text in texts(tmp_path, is_over=True)] == ["hole", "- ha"]


def test_only_news_is_read_from_a_long_console(tmp_path: Path) -> None:
    lines = [f"{stamp(number)} I [1] x - line {number}" for number in range(20_000)]
    (tmp_path / "console.log").write_text("\n".join(lines) + "\n")

    assert texts(tmp_path, START + timedelta(milliseconds=19_998)) == lines[-2:]
    assert texts(tmp_path, START + timedelta(milliseconds=9_000)) == lines[9_000:]
    assert texts(tmp_path) == lines


def test_evidence_is_the_last_dozen_lines_of_this_run(tmp_path: Path) -> None:
    before = "an earlier run\n"
    (tmp_path / "console.log").write_text(before + "".join(f"line {n}\n\n" for n in range(20)))

    assert last_lines(tmp_path)[-1] == "line 19"
    assert len(last_lines(tmp_path)) == 12
    short = len((tmp_path / "console.log").read_text()) - len("line 19\n\n")
    assert last_lines(tmp_path, from_offset=short) == ("line 19",)


def test_a_short_console_is_not_turned_over(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("one\n")

    assert rotate_console(str(tmp_path), 100) is False
    assert not (tmp_path / "console.log.1").exists()


def test_turning_over_keeps_whole_lines_and_frees_the_disk(tmp_path: Path) -> None:
    lines = [f"{stamp(number)} I [1] x - {'long ' * 20}{number}" for number in range(5_000)]
    (tmp_path / "console.log").write_text("\n".join(lines) + "\nhalf a li")

    assert rotate_console(str(tmp_path), 100_000) is True

    with (tmp_path / "console.log").open("a") as log:
        log.write("ne\n")
    assert (tmp_path / "console.log").stat().st_blocks * 512 <= 8192
    kept = texts(tmp_path)
    assert kept[-1] == "half a line"
    assert kept[:-1] == lines[-len(kept) + 1 :]
    assert last_lines(tmp_path) == ("half a line",)


@pytest.mark.thorough
def test_a_follower_misses_no_line_while_the_console_is_turned_over(tmp_path: Path) -> None:
    count = 30_000
    log = os.open(tmp_path / "console.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write() -> None:
        for number in range(count):
            os.write(log, f"{stamp(number)} I [1] x - {number}\n".encode())

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[int] = []
    turned = 0
    while not seen or seen[-1] < count - 1:
        since = START + timedelta(milliseconds=seen[-1] + 1 if seen else 0)
        seen += [int(text.rsplit(" ", 1)[1]) for text in texts(tmp_path, since)]
        turned += rotate_console(str(tmp_path), 100_000)
    writer.join()
    os.close(log)

    assert seen == list(range(count))
    assert turned > 3
