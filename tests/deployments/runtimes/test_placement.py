"""Which engine of a pool an instance goes to, and what is said when it goes nowhere."""

from __future__ import annotations

from pathlib import Path

from deployments.runtimes import InstanceSpec
from deployments.runtimes.docker.placement import Room, Share, choose, why_not

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


def test_the_engine_with_the_most_left_by_its_scarcer_share_is_chosen() -> None:
    wide = Room("wide", cores=32, memory_bytes=5 * GIB)
    even = Room("even", cores=8, memory_bytes=16 * GIB)
    full = Room("full", cores=64, memory_bytes=256 * GIB, taken_cores=63)
    assert choose([wide, even, full], SPEC) == even
    assert choose([full], SPEC) is None


def test_a_share_caps_what_the_machine_has() -> None:
    share = Share(most_cores=4.0, most_memory_bytes=8 * GIB)
    assert (share.cores(64.0), share.cores(2.0)) == (4.0, 2.0)
    assert (share.memory_bytes(64 * GIB), share.memory_bytes(GIB)) == (8 * GIB, GIB)
    assert (Share().cores(64.0), Share().memory_bytes(GIB)) == (64.0, GIB)


def test_out_of_capacity_names_the_compute_each_engine_and_the_way_out() -> None:
    full = Room("here", cores=2, memory_bytes=8 * GIB, taken_cores=1)
    assert why_not([full], SPEC, compute="edge", closed=["there"]) == (
        "No engine of compute 'edge' has room for 2 cores and 4.0 GiB: here has 1 of 2 cores and 8.0 GiB of 8.0 GiB "
        "free; there is closed for new instances. Choose a smaller instance type, fewer instances, or have an "
        "administrator add an engine to compute 'edge'."
    )
    assert why_not([], SPEC).startswith(
        "No engine has room for 2 cores and 4.0 GiB: none answers."
    )
    assert why_not([], SPEC).endswith("or add an engine to PORTICO_DOCKER_ENGINES.")
