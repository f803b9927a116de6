"""What is said of an engine that does not answer, and to whom."""

from __future__ import annotations

import gc

import pytest

from deployments.runtimes import RuntimeAway
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.engines import Engine

SILENT = EngineAddress("far", "tcp://127.0.0.1:1")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_engine_of_a_compute_says_no_address_but_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(RuntimeAway) as away:
        Engine(SILENT, tells_address=False).container("x")
    assert str(away.value) == "The Docker engine far does not answer."
    assert "far at tcp://127.0.0.1:1 does not answer: Connection refused" in caplog.text
    with pytest.raises(RuntimeAway, match=r"far at tcp://127\.0\.0\.1:1 does not answer"):
        Engine(SILENT).container("x")
    gc.collect()
