"""The access log is counted exactly: whatever dies, and wherever the log moves."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Sum

from monitoring import accesslog
from monitoring.accesslog import AccessLog, GatewaySilent, count
from monitoring.models import Follower, TrafficHour, TrafficMinute
from monitoring.rollups import TrafficKey
from tests.monitoring.rows import row

MINUTE = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
BLUE_OK = TrafficKey(MINUTE, "iris", "blue", 200, 0)


class Gateway:
    """Writes an access log as Envoy does: into the file it has open, until it is told to reopen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def reopen(self) -> None:
        self.close()
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with closing(Gateway(tmp_path / "access.log")) as gateway:
        yield gateway


def follower(gateway: Gateway, **options: int) -> AccessLog:
    return AccessLog(gateway.path, reopen=gateway.reopen, **options)


def count_all(log: AccessLog) -> None:
    while log.step():
        pass


def counted() -> int:
    total = TrafficMinute.objects.aggregate(total=Sum("requests"))["total"] or 0
    assert total == (TrafficHour.objects.aggregate(total=Sum("requests"))["total"] or 0)
    assert total == sum(
        sum(counts) for counts in TrafficMinute.objects.values_list("counts", flat=True)
    )
    return int(total)


# Rows ------------------------------------------------------------------------------------------------


def test_rows_add_up_by_minute_endpoint_deployment_and_outcome() -> None:
    found = count(
        row() + row(total_us=2500) + row(code=424, model_code="500") + row(cluster="iris__green")
    )
    assert found.rows == 4
    assert set(found.minutes) == {
        BLUE_OK,
        BLUE_OK._replace(code=424, model_code=500),
        BLUE_OK._replace(deployment_name="green"),
    }
    sums = found.minutes[BLUE_OK]
    assert (sums.requests, sums.request_bytes, sums.response_bytes) == (2, 20, 40)
    assert (sums.latency_us, sums.model_us) == (4000, 2000)


def test_a_request_that_the_gateway_answered_itself_has_no_deployment() -> None:
    found = count(row(cluster=None, code=404, upstream_us=None))
    assert set(found.minutes) == {BLUE_OK._replace(deployment_name="", code=404)}


def test_a_request_whose_client_left_counts_but_has_no_latency() -> None:
    found = count(row(code=0, total_us=None, upstream_us=None))
    sums = found.minutes[BLUE_OK._replace(code=0)]
    assert (sums.requests, sums.latency_us, sums.buckets) == (1, 0, {})


def test_a_models_own_status_that_is_no_status_is_left_out() -> None:
    found = count(row(code=424, model_code="ninety") + row(code=424, model_code="99999"))
    assert set(found.minutes) == {BLUE_OK._replace(code=424)}


def test_a_line_that_is_no_row_is_counted_as_unreadable() -> None:
    found = count(b"nonsense\n" + row() + b'{"ts":17}\n')
    assert (found.rows, found.unreadable_rows) == (1, 2)


def test_a_row_behind_one_that_a_crash_cut_off_is_still_counted() -> None:
    found = count(row()[:50] + row(ua='Mozilla {"x"}'))
    assert (found.rows, found.unreadable_rows) == (1, 0)


# Following -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_every_row_is_counted_once(gateway: Gateway) -> None:
    log = follower(gateway)
    gateway.write(row() * 3)
    count_all(log)
    count_all(log)
    gateway.write(row() * 2)
    count_all(log)
    assert counted() == 5


@pytest.mark.django_db
def test_half_a_row_waits_for_its_other_half(gateway: Gateway) -> None:
    log = follower(gateway)
    gateway.write(row() + row()[:30])
    count_all(log)
    assert counted() == 1
    gateway.write(row()[30:])
    count_all(log)
    assert counted() == 2


@pytest.mark.django_db
def test_a_new_follower_goes_on_where_the_last_one_stopped(gateway: Gateway) -> None:
    gateway.write(row() * 3)
    count_all(follower(gateway))
    gateway.write(row())
    count_all(follower(gateway))
    assert counted() == 4


@pytest.mark.django_db
def test_two_followers_at_once_count_nothing_twice(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "CHUNK_BYTES", 2000)
    one, other = follower(gateway), follower(gateway)
    gateway.write(row() * 100)
    for _ in range(200):
        one.step()
        other.step()
    assert counted() == 100


@pytest.mark.django_db
def test_no_row_is_lost_or_doubled_when_the_log_rotates_in_a_burst(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "CHUNK_BYTES", 3000)
    log = follower(gateway, rotate_bytes=20_000, keep_files=2)
    for burst in range(60):
        gateway.write(row() * 10)
        log.step()
        if burst % 3 == 0:
            log.rotate()
    count_all(log)
    assert counted() == 600
    log.rotate()
    assert len(list(gateway.path.parent.glob("access.log.*"))) <= 3


@pytest.mark.django_db
def test_rows_that_come_between_the_rename_and_the_reopening_are_counted(gateway: Gateway) -> None:
    log = AccessLog(gateway.path, reopen=lambda: None, rotate_bytes=1)
    gateway.write(row())
    count_all(log)
    log.rotate()
    gateway.write(row() * 2)
    count_all(log)
    gateway.reopen()
    gateway.write(row() * 4)
    count_all(log)
    assert counted() == 7


@pytest.mark.django_db
def test_a_follower_that_died_between_rename_and_reopening_is_made_up_for(
    gateway: Gateway,
) -> None:
    def die() -> None:
        raise GatewaySilent("no answer")

    gateway.write(row())
    with pytest.raises(GatewaySilent):
        AccessLog(gateway.path, reopen=die, rotate_bytes=1).rotate()
    log = follower(gateway)
    log.rotate()
    gateway.write(row())
    count_all(log)
    assert gateway.path.exists()
    assert counted() == 2


@pytest.mark.django_db
def test_files_that_are_not_counted_yet_are_never_deleted(gateway: Gateway) -> None:
    log = follower(gateway, rotate_bytes=1, keep_files=0)
    for _ in range(5):
        gateway.write(row())
        log.rotate()
    assert len(list(gateway.path.parent.glob("access.log.*"))) == 5
    count_all(log)
    log.rotate()
    assert counted() == 5
    assert list(gateway.path.parent.glob("access.log.*")) == []


@pytest.mark.django_db
def test_an_emptied_log_is_counted_from_its_beginning(gateway: Gateway) -> None:
    log = follower(gateway)
    gateway.write(row() * 5)
    count_all(log)
    os.truncate(gateway.path, 0)
    gateway.write(row())
    count_all(log)
    count_all(log)
    assert counted() == 6


@pytest.mark.django_db
def test_a_new_file_with_the_old_inode_is_not_taken_for_the_old_one(gateway: Gateway) -> None:
    gateway.write(row() * 5)
    count_all(follower(gateway))
    # As if the file had been replaced while nobody looked: same inode, other rows.
    os.truncate(gateway.path, 0)
    gateway.write(row(request_id="other") * 9)
    count_all(follower(gateway))
    assert counted() == 14


@pytest.mark.real
@pytest.mark.alone  # the flush takes from those that come after it in this process what they need
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_totals_are_exact_after_a_follower_was_killed_many_times(gateway: Gateway) -> None:
    chance = random.Random(7)
    database = connection.settings_dict["NAME"]
    total = 0
    for life in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.monitoring.follow_access_log", gateway.path, database]
        )
        try:
            reached = Follower.objects.filter(name="access.log").values_list("rows", flat=True)
            before = reached.first() or 0
            for _ in range(30):
                gateway.write(row(total_us=chance.randrange(1, 10**6)) * 20)
                total += 20
                if chance.random() < 0.1:
                    gateway.path.rename(f"{gateway.path}.{time.time_ns()}")
                    gateway.reopen()
            # Killed in the middle: some of it counted, and not all.
            deadline = time.monotonic() + 30
            while (reached.first() or 0) <= before and life < 5:
                assert time.monotonic() < deadline
        finally:
            process.kill()
            process.wait()
    count_all(follower(gateway))
    assert counted() == total
    assert Follower.objects.get(name="access.log").rows == total
