"""Restarting and draining single instances: out of the routes first, never all at once, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from deployments import provisioning
from deployments.models import Instance, OnlineDeployment
from deployments.replacing import drain_instance, find_instance, restart_instance
from deployments.runtimes.fake import HANGS, FakeRuntime
from deployments.staging import instance_name
from tests.deployments.conftest import Factory, advance_once, advance_until
from tests.deployments.test_provisioning import DONE, addresses
from workspaces.errors import Conflict, NotFound
from workspaces.models import Activity

pytestmark = pytest.mark.django_db


def rows(deployment: OnlineDeployment) -> list[Instance]:
    return list(Instance.objects.filter(deployment=deployment).order_by("number"))


def pass_time(deployment: OnlineDeployment) -> None:
    """As if every pause were over."""
    long_ago = timezone.now() - timedelta(minutes=1)
    deployment.instances.filter(state="Draining").update(remove_after=long_ago)
    deployment.instances.update(start_after=long_ago)


def test_a_restart_takes_it_out_of_the_routes_then_starts_it_anew(make: Factory) -> None:
    deployment = advance_until(make.deployment(instance_count=2), *DONE)
    one, two = rows(deployment)
    Instance.objects.filter(pk=one.pk).update(restarts=2)
    restart_instance(deployment, "0", by=make.alice)
    advance_once(deployment)
    assert addresses(deployment) == [two.address]
    one.refresh_from_db()
    assert one.state == "Starting"
    before = one.started_at
    advance_once(deployment)
    one.refresh_from_db()
    assert one.restart_requested_at is not None, "requests in flight have their time"
    pass_time(deployment)
    advance_once(deployment)
    one.refresh_from_db()
    fresh = Instance.objects.get(pk=one.pk)
    assert (fresh.state, fresh.restarts) == ("Healthy", 0)
    assert fresh.restart_requested_at is None
    assert before is not None
    assert fresh.started_at is not None
    assert fresh.started_at > before
    assert sorted(addresses(deployment)) == sorted([fresh.address, two.address])
    assert provisioning.sweep() == []


def test_a_restart_of_the_only_one_leaves_nothing_in_the_routes_until_it_is_back(
    make: Factory,
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    restart_instance(deployment, "0", by=make.alice)
    advance_once(deployment)
    assert addresses(deployment) == [], "requests are answered 503"
    pass_time(deployment)
    advance_once(deployment)
    assert addresses(deployment) == [rows(deployment)[0].address]


def test_one_that_waits_after_a_crash_is_restarted_at_once(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    [one] = rows(deployment)
    runtime.crash(one.name)
    for _ in range(3):
        advance_once(deployment)
        runtime.crash(one.name)
    advance_once(deployment)
    one.refresh_from_db()
    assert (one.state, one.start_after > timezone.now()) == ("Exited", True)
    assert one.last_exit["reason"] == "It crashed."
    assert one.last_exit["exit_code"] == 1
    restart_instance(deployment, one.name, by=make.alice)
    advance_once(deployment)
    one.refresh_from_db()
    assert (one.state, one.reason) == ("Healthy", "")
    assert one.last_exit["reason"] == "It crashed.", "that it ended is still told"


def test_draining_replaces_it_by_a_fresh_one_with_another_number(make: Factory) -> None:
    deployment = advance_until(make.deployment(instance_count=2), *DONE)
    one, two = rows(deployment)
    drain_instance(deployment, "0", by=make.alice)
    advance_once(deployment)
    one.refresh_from_db()
    assert one.state == "Draining"
    assert one.address not in addresses(deployment)
    pass_time(deployment)
    advance_once(deployment)
    assert [row.number for row in rows(deployment)] == [1, 2]
    assert next(row.pk for row in rows(deployment)) == two.pk
    assert len(addresses(deployment)) == 2
    assert provisioning.sweep() == []
    told = Activity.objects.get(verb="drain instance")
    assert (told.actor, told.after) == (make.alice, {"instance": one.name})


def test_the_only_one_that_serves_goes_on_until_the_fresh_one_is_ready(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    [one] = rows(deployment)
    revision = deployment.serving_revision
    assert revision is not None
    fresh = instance_name(revision, 1)
    runtime.plan(fresh, HANGS)
    drain_instance(deployment, "0", by=make.alice)
    for _ in range(3):
        advance_once(deployment)
        assert addresses(deployment) == [one.address]
    runtime.hang(fresh, forever=False)
    advance_once(deployment)
    assert addresses(deployment) == [find_instance(deployment, "1").address]
    pass_time(deployment)
    advance_once(deployment)
    assert [row.name for row in rows(deployment)] == [fresh]
    assert list(runtime.owned()) == [fresh]


def test_a_scale_in_after_a_drain_keeps_as_many_as_are_wanted(make: Factory) -> None:
    deployment = advance_until(make.deployment(instance_count=2), *DONE)
    drain_instance(deployment, "0", by=make.alice)
    advance_once(deployment)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(instance_count=1)
    advance_once(deployment)
    pass_time(deployment)
    advance_once(deployment)
    assert [(row.number, row.state) for row in rows(deployment)] == [(1, "Healthy")]
    assert provisioning.sweep() == []


def test_asked_twice_nothing_more_happens(make: Factory) -> None:
    deployment = advance_until(make.deployment(instance_count=2), *DONE)
    for verb in (restart_instance, drain_instance):
        verb(deployment, "0", by=make.alice)
        verb(deployment, "0", by=make.alice)
    verbs = list(Activity.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs[-2:] == ["restart instance", "drain instance"]
    with pytest.raises(Conflict, match="being replaced already"):
        restart_instance(deployment, "0", by=make.alice)


def test_a_wish_that_came_while_the_worker_was_busy_is_found_by_the_sweep(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    restart_instance(deployment, "0", by=make.alice)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(due_at=None)
    assert provisioning.sweep() == [deployment.pk]


def test_an_operation_that_runs_comes_first_and_what_is_not_there_is_named(make: Factory) -> None:
    deployment = make.deployment()
    advance_until(deployment, *DONE)
    with pytest.raises(NotFound, match="its instances are: 0"):
        drain_instance(deployment, "7", by=make.alice)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(state="Updating")
    for verb in (restart_instance, drain_instance):
        with pytest.raises(Conflict, match="is Updating"):
            verb(deployment, "0", by=make.alice)
