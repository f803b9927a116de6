"""The alarm that interrupts a call of the script which takes too long.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

from types import FrameType
from typing import NoReturn


class ScoringTimeout(TimeoutError):
    """Raised inside run() by the alarm."""


def raise_scoring_timeout(number: int, frame: FrameType | None) -> NoReturn:
    raise ScoringTimeout
