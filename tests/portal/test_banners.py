from __future__ import annotations

import pytest
from django.core.cache import cache

from monitoring import heartbeat
from portal.context import silence_banner

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    cache.delete("silent")


def test_a_worker_that_was_never_heard_of_is_announced() -> None:
    banner = silence_banner()
    assert banner is not None
    assert "background worker is not responding" in banner.text


def test_a_silent_watch_is_told_apart() -> None:
    heartbeat.beat(heartbeat.WORKER)
    banner = silence_banner()
    assert banner is not None
    assert "Scoring goes on" in banner.text


def test_when_all_are_heard_there_is_no_banner() -> None:
    heartbeat.beat(heartbeat.WORKER)
    heartbeat.beat(heartbeat.WATCH)
    assert silence_banner() is None
