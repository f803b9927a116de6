"""A large upload through the whole portal: blocks, joined, registered, read back, with flat memory."""

from __future__ import annotations

import pytest

from benchmarks.large_upload import run
from tests.house import House

pytestmark = pytest.mark.real
MIB = 300
MOST_GROWN_MIB = 130
"""With 16 requests under way, each holds a few parts of 4 MiB at most; the file is larger than that."""


def test_a_large_upload_does_not_grow_the_web_process(house: House) -> None:
    run(house, 40, 16)  # what the process loads at its first upload is not the file
    outcome = run(house, MIB, 16)
    assert outcome.grown_mib < MOST_GROWN_MIB, outcome
