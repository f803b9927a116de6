"""What an update would do, said before it is done."""

from __future__ import annotations

from dataclasses import replace

from deployments.plans import plan_update
from deployments.specs import DeploymentSpec

CURRENT = DeploymentSpec(name="blue", environment_variables={"KEY": "secret", "MODE": "a"})


def names(wanted: DeploymentSpec) -> list[str]:
    return [change.field for change in plan_update(CURRENT, wanted).changes]


def test_the_same_wish_changes_nothing() -> None:
    plan = plan_update(CURRENT, replace(CURRENT))
    assert plan.changes == ()
    assert not plan.restarts


def test_more_instances_restart_nothing() -> None:
    plan = plan_update(CURRENT, replace(CURRENT, instance_count=3))
    assert [(change.before, change.after) for change in plan.changes] == [("1", "3")]
    assert plan.scales
    assert not plan.restarts


def test_words_about_a_deployment_restart_nothing() -> None:
    wanted = replace(CURRENT, description="new", tags={"team": "risk"})
    assert names(wanted) == ["description", "tags"]
    assert not plan_update(CURRENT, wanted).restarts


def test_what_an_instance_runs_with_restarts_it() -> None:
    plan = plan_update(CURRENT, replace(CURRENT, request_timeout_ms=9000))
    assert plan.restarts
    assert not plan.rebuilds


def test_values_of_variables_are_never_shown() -> None:
    wanted = replace(CURRENT, environment_variables={"KEY": "other", "MODE": "a", "NEW": "x"})
    (change,) = plan_update(CURRENT, wanted).changes
    assert change.after == "KEY, NEW"
    assert "secret" not in str(change)
    assert "other" not in str(change)
