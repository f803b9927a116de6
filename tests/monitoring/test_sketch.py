"""Buckets of latencies are right to within 1 %."""

from __future__ import annotations

import pytest

from monitoring.sketch import bucket_of, milliseconds_of


@pytest.mark.parametrize("microseconds", [1, 2, 99, 100, 101, 1000, 123_456, 10**7, 3_600_000_000])
def test_a_buckets_value_is_within_one_percent_of_what_is_in_it(microseconds: int) -> None:
    assert milliseconds_of(bucket_of(microseconds)) * 1000 == pytest.approx(microseconds, rel=0.01)


def test_longer_takes_a_later_bucket() -> None:
    buckets = [bucket_of(microseconds) for microseconds in range(1, 20_000)]
    assert buckets == sorted(buckets)
    assert min(buckets) >= 0 and bucket_of(24 * 3600 * 10**6) < 2**15
