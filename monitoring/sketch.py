"""Latencies in buckets that grow by 2 %: histograms add up exactly, and a percentile is right to within 1 %."""

from __future__ import annotations

import math

GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)


def bucket_of(microseconds: int) -> int:
    """The bucket of a duration: number n holds what lies above GROWTH^(n-1) and up to GROWTH^n."""
    if microseconds <= 1:
        return 0
    return math.ceil(math.log(microseconds) / _LOG_GROWTH)


def milliseconds_of(bucket: int) -> float:
    """The value that is at most 1 % away from every duration in the bucket."""
    return float(2 * GROWTH**bucket / (1 + GROWTH) / 1000)
