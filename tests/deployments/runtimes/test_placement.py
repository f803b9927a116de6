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


def test_a_share_says_what_there_is_below_and_above_what_the_machine_has() -> None:
    share = Share(most_cores=4.0, most_memory_bytes=8 * GIB)
    assert (share.cores(64.0), share.cores(2.0)) == (4.0, 4.0)
    assert (share.memory_bytes(64 * GIB), share.memory_bytes(GIB)) == (8 * GIB, 8 * GIB)
    assert (Share().cores(64.0), Share().memory_bytes(GIB)) == (64.0, GIB)


def test_out_of_capacity_names_the_compute_each_engine_and_the_way_out() -> None:
    full = Room("here", cores=2, memory_bytes=8 * GIB, taken_cores=1)
    assert why_not([full], SPEC, compute="edge", closed=["there"]) == (
        "No engine of compute 'edge' has room for 2 cores and 4.0 GiB: here has 1 of 2 cores and 8.0 GiB of 8.0 GiB "
        "free; there is closed for new instances. Choose a smaller instance type, fewer instances, or have an "
        "administrator add an engine to compute 'edge' or raise the limits of one."
    )
    assert why_not([], SPEC).startswith(
        "No engine has room for 2 cores and 4.0 GiB: none answers."
    )
    assert why_not([], SPEC).endswith("or add an engine to PORTICO_DOCKER_ENGINES.")


def test_out_of_capacity_says_what_deployments_outside_the_compute_hold() -> None:
    shared = Room(
        "here",
        cores=2,
        memory_bytes=8 * GIB,
        taken_cores=14,
        taken_memory_bytes=7 * GIB,
        others_cores=13,
        others_memory_bytes=6 * GIB,
    )
    held = "deployments of this installation {} hold 13 cores and 6.0 GiB"
    assert (
        f"here has 0 of 2 cores and 1.0 GiB of 8.0 GiB free ({held.format('outside the compute')})."
        in why_not([shared], SPEC, compute="edge")
    )
    assert held.format("on attached computes") in why_not([shared], SPEC)


def test_what_is_larger_than_every_engine_as_a_whole_is_told_so() -> None:
    few = Room("few", cores=0.5, memory_bytes=64 * GIB)
    more = Room("more", cores=1, memory_bytes=2 * GIB)
    assert why_not([more, few], SPEC, compute="edge", closed=["there"]) == (
        "No engine of compute 'edge' is large enough for 2 cores and 4.0 GiB: the largest, more, has 1 core and 2.0 "
        "GiB in all; there is closed for new instances. Choose a smaller instance type, or have an administrator "
        "add an engine to compute 'edge' or raise the limits of one."
    )
