"""Instances that end while they load, that are never ready, and that find no place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.utils import timezone

from deployments.models import Instance, OnlineDeployment, Phase
from deployments.runtimes.fake import FAILS, HANGS, RUNS_OUT_OF_MEMORY, FakeRuntime, Plan
from tests.deployments.conftest import Factory, advance_once, advance_until

pytestmark = pytest.mark.django_db

DONE = ("Succeeded", "Failed")


def test_out_of_memory_is_told_with_its_figures(make: Factory, runtime: FakeRuntime) -> None:
    runtime.plan("", RUNS_OUT_OF_MEMORY)
    deployment = advance_until(make.deployment(), *DONE)
    assert deployment.failure["code"] == "OutOfMemory"
    assert "Killed at 2.0 GiB" in deployment.failure["cause"]


def test_memory_that_runs_out_while_it_loads_fails_at_the_first_time(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", replace(RUNS_OUT_OF_MEMORY, inspections_before=3))
    deployment = advance_until(make.deployment(), *DONE)
    assert (deployment.failure["code"], deployment.failure["phase"]) == (
        "OutOfMemory",
        "Load model",
    )
    assert [runtime.starts(name) for name in runtime.owned()] == [1]


def test_an_ending_that_may_pass_is_tried_again_and_the_timeline_says_so(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", replace(FAILS, code="", reason="It ended.", inspections_before=2))
    deployment = make.deployment()
    for _ in range(4):
        advance_once(deployment)
    name = deployment.instances.get().name
    runtime.plan("", Plan())
    deployment = advance_until(deployment, *DONE)
    assert (deployment.state, runtime.starts(name)) == ("Succeeded", 2)
    assert (
        Phase.objects.get(name="Load model").log == f"{name}: It ended. Attempt 2 of 3 follows.\n"
    )


def test_an_instance_that_cannot_be_placed_fails_in_the_phase_start(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", replace(FAILS, code="OutOfCapacity", reason="No engine has room."))
    deployment = make.deployment()
    for _ in range(8):
        Instance.objects.update(start_after=timezone.now())
        advance_once(deployment)
    card = OnlineDeployment.objects.get(pk=deployment.pk).failure
    assert (card["code"], card["phase"]) == ("OutOfCapacity", "Start")
    last = Phase.objects.last()
    assert last is not None and (last.name, last.state) == ("Start", "Failed")
    assert "No engine has room. Attempt 2 of 3 follows." in last.log


def test_a_server_that_never_becomes_ready_fails_after_its_probes(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", HANGS)
    probe = {"initial_delay": 1, "period": 1, "failure_threshold": 2}
    deployment = make.deployment(readiness_probe=probe)
    for _ in range(4):
        advance_once(deployment)
    Phase.objects.filter(name="Load model").update(deadline_at=timezone.now())
    deployment = advance_until(deployment, *DONE)
    assert deployment.failure["code"] == "ResourceNotReady"
    assert "2 probes failed" in deployment.failure["cause"]


def test_a_crash_that_repeats_fails_after_a_few_starts(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", Plan(outcome=FAILS.outcome, code="", reason="killed", exit_code=9))
    deployment = make.deployment()
    for _ in range(20):
        Instance.objects.update(start_after=timezone.now())
        advance_once(deployment)
        deployment = OnlineDeployment.objects.get(pk=deployment.pk)
        if deployment.state == "Failed":
            break
    assert deployment.failure["code"] == "ResourceNotReady"
