"""Reading a deployment's log: pages, filters, other sources, and what is let go of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from deployments.models import OnlineDeployment, Operation, Phase
from monitoring import filters, logs, retention, segments
from monitoring.logs import Page, tail
from monitoring.segments import Entry, SegmentWriter
from monitoring.tailing import Mark
from tests.factories import make_deployment, make_online_endpoint
from workspaces.errors import UserError

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
LEVELS = ("debug", "info", "warning", "error", "")


@pytest.fixture
def blue(tmp_path: Path, settings: Any) -> OnlineDeployment:
    settings.SEGMENTS_ROOT = tmp_path
    return make_deployment(make_online_endpoint(name="iris"), "blue")


@pytest.fixture
def writer(blue: OnlineDeployment) -> Iterator[SegmentWriter]:
    with closing(SegmentWriter(logs.folder_of_deployment(blue))) as writer:
        yield writer


def write(writer: SegmentWriter, count: int, *, instance: str = "one", text: str = "line") -> None:
    begin = writer.next_cursor
    entries = [
        Entry(MOMENT, LEVELS[number % 5], f"{text} {number}", False, Mark(1, number, ""))
        for number in range(begin, begin + count)
    ]
    writer.append(instance, logs.CONSOLE, entries)


def cursors(page: Page) -> list[int]:
    return [line.cursor for line in page.lines]


def test_the_newest_lines_come_first_and_older_ones_page_by_page(
    blue: OnlineDeployment, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 500)
    for _ in range(5):
        write(writer, 5)
    page = tail(blue, lines=10)
    assert cursors(page) == list(range(16, 26))
    assert (page.oldest, page.cursor, page.has_more) == (16, 25, True)
    page = tail(blue, lines=10, before=page.oldest)
    assert cursors(page) == list(range(6, 16))
    page = tail(blue, lines=10, before=page.oldest)
    assert cursors(page) == [1, 2, 3, 4, 5]
    assert not page.has_more


def test_what_comes_after_a_cursor_is_complete(
    blue: OnlineDeployment, writer: SegmentWriter
) -> None:
    write(writer, 7)
    page = tail(blue, lines=3, after=2)
    assert (cursors(page), page.cursor, page.has_more) == ([3, 4, 5], 5, True)
    page = tail(blue, lines=3, after=page.cursor)
    assert (cursors(page), page.cursor, page.has_more) == ([6, 7], 7, False)
    assert tail(blue, after=7).lines == []


def test_a_deployment_that_never_said_anything_has_an_empty_log(blue: OnlineDeployment) -> None:
    assert tail(blue) == Page([], 0, 0, False)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"instance": "two"}, [6, 7]),
        ({"level": "error"}, [3]),
        ({"level": "WARNING"}, [2, 3, 7]),
        ({"text": "LINE 3"}, [3]),
        ({"text": "/^line [24]$/"}, [2, 4]),
        ({"text": "/"}, []),
        ({"source": "inference-server", "text": "other"}, [6, 7]),
    ],
)
def test_only_lines_that_are_wanted_are_given(
    blue: OnlineDeployment, writer: SegmentWriter, wanted: dict[str, str], expected: list[int]
) -> None:
    write(writer, 5)
    write(writer, 2, instance="two", text="other")
    assert cursors(tail(blue, **wanted)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"text": "/[/"}, "is not valid"),
        ({"text": "/" + "a" * 600 + "/"}, "At most 500"),
        ({"level": "loud"}, "Use one of debug"),
        ({"source": "moon"}, "Use one of inference-server"),
    ],
)
def test_a_filter_that_makes_no_sense_is_answered_with_a_sentence(
    blue: OnlineDeployment, wanted: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        tail(blue, **wanted)  # type: ignore[arg-type]


def test_a_pattern_that_would_take_for_ever_is_stopped(
    blue: OnlineDeployment, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "PATTERN_SECONDS", 0.05)
    entry = Entry(MOMENT, "", "a" * 5000 + "b", False, Mark())
    writer.append("one", logs.CONSOLE, [entry])
    with pytest.raises(UserError, match="takes too long"):
        tail(blue, text="/^(a|aa|a?)+$/")


def test_a_search_that_finds_nothing_gives_up_for_the_moment_and_can_go_on(
    blue: OnlineDeployment, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, 1000)
    monkeypatch.setattr(logs, "SEARCH_SECONDS", -1.0)
    page = tail(blue, text="line 7 ", lines=5)
    assert (page.lines, page.oldest, page.has_more) == ([], 768, True)
    page = tail(blue, text="line 300", lines=5, before=page.oldest)
    assert (page.oldest, page.has_more) == (512, True)
    page = tail(blue, text="line 300", lines=5, before=page.oldest)
    assert cursors(page) == [300]
    ahead = tail(blue, text="line 300", lines=5, after=0)
    assert (ahead.lines, ahead.cursor, ahead.has_more) == ([], 256, True)


def test_provisioning_tells_what_it_did_and_said(blue: OnlineDeployment) -> None:
    Operation.objects.all().delete()
    operation = Operation.objects.create(
        deployment=blue, kind=Operation.Kind.CREATE, failure={"cause": "No such package: skleam."}
    )
    begun = timezone.now()
    for minute, (name, state, log) in enumerate(
        (
            (Phase.Name.FETCH_MODEL, Phase.State.SUCCEEDED, "2 files\n"),
            (Phase.Name.BUILD_ENVIRONMENT, Phase.State.FAILED, "solving\nno skleam\n"),
        )
    ):
        at = begun + timedelta(minutes=minute)
        Phase.objects.create(
            operation=operation,
            name=name,
            state=state,
            started_at=at,
            ended_at=at + timedelta(seconds=2),
            log=log,
        )
    assert [line.text for line in tail(blue, source="storage-initializer").lines] == ["2 files"]
    assert [line.text for line in tail(blue, source="build").lines] == ["solving", "no skleam"]
    assert [(line.level, line.text) for line in tail(blue, source="events").lines] == [
        ("info", "create: Fetch model started"),
        ("info", "create: Fetch model succeeded after 2.0 s"),
        ("info", "create: Build environment started"),
        ("error", "create: Build environment failed after 2.0 s: No such package: skleam."),
    ]


# What is kept -----------------------------------------------------------------------------------------


def age(folder: Path, days: int, count: int) -> None:
    """Make the oldest `count` segments that old."""
    then = (timezone.now() - timedelta(days=days)).timestamp()
    for segment in segments.segments(folder)[:count]:
        os.utime(segment.path, (then, then))


@pytest.fixture
def folder(blue: OnlineDeployment, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five segments."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    for _ in range(5):
        write(writer, 3)
    assert len(segments.segments(writer.folder)) == 5
    return writer.folder


def prune(folder: Path, *in_use: Path) -> int:
    before = timezone.now() - timedelta(days=30)
    return retention.prune_segments(folder.parent.parent, before=before, in_use=in_use)


def test_old_segments_go_and_newer_ones_stay(folder: Path) -> None:
    age(folder, 31, 2)
    assert prune(folder) == 2
    assert [segment.first for segment in segments.segments(folder)] == [7, 10, 13]


def test_a_log_that_is_too_large_loses_its_oldest_segments(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = segments.segments(folder)[-1].path.stat().st_size
    monkeypatch.setattr(segments, "DEPLOYMENT_LOG_BYTES", 3 * size)
    prune(folder)
    assert len(segments.segments(folder)) == 3


def test_a_script_that_floods_its_log_does_not_wait_for_the_clock(
    writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    write(writer, 3)
    size = segments.segments(writer.folder)[-1].path.stat().st_size
    monkeypatch.setattr(segments, "DEPLOYMENT_LOG_BYTES", 3 * size)
    for _ in range(20):
        write(writer, 3)
    assert len(segments.segments(writer.folder)) in (3, 4)
    assert segments.last_cursor(writer.folder) == 63


def test_the_newest_segment_stays_while_it_is_written_to(folder: Path) -> None:
    age(folder, 31, 5)
    assert prune(folder, folder) == 4
    assert segments.last_cursor(folder) == 15
    assert prune(folder) == 1
    assert not folder.exists()
