"""Where an instance goes on engines that others of the installation use, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.runtimes import InstanceSpec
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.containers import CORES, INSTANCE, MEMORY
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.docker.placement import Share
from deployments.runtimes.docker.pool import Pool, StartRefused

GIB = 2**30
SPEC = InstanceSpec(
    name="ep.blue.1.0",
    owner=1,
    code_dir=Path("/code"),
    scoring_script="score.py",
    model_dir=None,
    python=None,
    cpu_cores=2.0,
    memory_bytes=4 * GIB,
)


class SmallEngine(Engine):
    """Two cores and 8 GiB, on which an instance of the pool and one of the installation run."""

    def info(self) -> dict[str, Any]:
        return {"NCPU": 2, "MemTotal": 8 * GIB}

    def containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        names = {"own.blue.1.0": 1, "other.blue.1.0": 7}
        return [
            {"Labels": {INSTANCE: name, CORES: str(held), MEMORY: str(held * GIB)}}
            for name, held in names.items()
        ]


def pool(share: Share) -> Pool:
    engine = SmallEngine(EngineAddress("here"))
    return Pool({"here": engine}, "house", True, compute="edge", shares={"here": share})


def test_others_on_the_engine_count_and_a_larger_figure_makes_room_for_all() -> None:
    with pytest.raises(StartRefused) as caught:
        pool(Share()).place(SPEC, own={"own.blue.1.0"})
    assert "here has 0 of 2 cores and 0 MiB of 8.0 GiB free" in caught.value.reason
    assert (
        "(deployments of this installation outside the compute hold 7 cores and 7.0 GiB)"
        in caught.value.reason
    )
    roomy = Share(most_cores=16.0, most_memory_bytes=32 * GIB)
    assert pool(roomy).place(SPEC, own={"own.blue.1.0"}).name == "here"
