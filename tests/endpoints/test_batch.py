"""Batch endpoints: names shared with online ones, the default deployment, deleting."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections

from deployments.models import BatchDeployment
from endpoints.batch import (
    BatchEndpointSpec,
    create_batch_endpoint,
    delete_batch_endpoint,
    set_default_deployment,
    spec_of,
    update_batch_endpoint,
)
from endpoints.changes import EndpointSpec, create_endpoint
from endpoints.models import BatchEndpoint, OnlineEndpoint
from tests.factories import make_batch_endpoint, make_online_endpoint, make_workspace
from workspaces.errors import Conflict, UserError
from workspaces.models import Activity, Quota

pytestmark = pytest.mark.django_db


def test_an_endpoint_is_made_with_its_activity_and_no_default() -> None:
    workspace = make_workspace()
    made = create_batch_endpoint(workspace, BatchEndpointSpec(name="churn"), by=None)
    assert (made.default_deployment, made.location) == ("", workspace.location)
    assert made.scoring_uri.endswith("/batch/churn/jobs")
    activity = Activity.objects.get()
    assert (activity.verb, activity.endpoint_name) == ("create", "churn")


def test_endpoints_of_both_kinds_share_their_names() -> None:
    make_online_endpoint(name="online")
    make_batch_endpoint(name="batch")
    workspace = make_workspace()
    for name in ("ONLINE", "Batch"):
        with pytest.raises(Conflict, match="is in use"):
            create_batch_endpoint(workspace, BatchEndpointSpec(name=name), by=None)
        with pytest.raises(Conflict, match="is in use"):
            create_endpoint(workspace, EndpointSpec(name=name), by=None)
    assert (BatchEndpoint.objects.count(), OnlineEndpoint.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_kinds_made_at_once_under_one_name_one_wins() -> None:
    workspaces = [make_workspace() for _ in range(4)]
    gate = threading.Barrier(len(workspaces))
    refusals: list[Conflict] = []

    def make(number: int) -> None:
        try:
            gate.wait()
            if number % 2:
                create_endpoint(workspaces[number], EndpointSpec(name="churn"), by=None)
            else:
                spec = BatchEndpointSpec(name="Churn")
                create_batch_endpoint(workspaces[number], spec, by=None)
        except Conflict as error:
            refusals.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals) == 3
    assert BatchEndpoint.objects.count() + OnlineEndpoint.objects.count() == 1


def test_both_kinds_share_the_quota() -> None:
    workspace = make_workspace()
    Quota.objects.create(workspace=workspace, resource="endpoints", limit=1)
    make_online_endpoint(workspace)
    with pytest.raises(UserError) as refused:
        create_batch_endpoint(workspace, BatchEndpointSpec(name="churn"), by=None)
    assert refused.value.code == "OutOfQuota"


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"name": "1st"}, "name"),
        ({"auth_mode": "key"}, "auth_mode"),
        ({"tags": {"a": 1}}, "tags"),
        ({"default_deployment": "blue"}, "defaults.deployment_name"),
        ({"identity": {"type": "none"}}, "identity.type"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(changes: dict[str, Any], target: str) -> None:
    with pytest.raises(UserError) as refused:
        create_batch_endpoint(
            make_workspace(), BatchEndpointSpec(**{"name": "churn", **changes}), by=None
        )
    assert refused.value.target == target
    assert not BatchEndpoint.objects.exists()


def test_the_default_is_one_of_its_own_deployments_without_regard_to_case() -> None:
    endpoint = make_batch_endpoint(name="churn", deployments=["blue", "Green"])
    make_batch_endpoint(deployments=["red"])
    assert set_default_deployment(endpoint, "gReEn", by=None).default_deployment == "Green"
    with pytest.raises(UserError, match="Its deployments: "):
        set_default_deployment(endpoint, "red", by=None)
    assert BatchEndpoint.objects.get(name="churn").default_deployment == "Green"
    assert set_default_deployment(endpoint, "", by=None).default_deployment == ""


def test_an_update_tells_what_changed_and_the_same_again_changes_nothing() -> None:
    endpoint = make_batch_endpoint(tags={"a": "1"})
    wish = replace(spec_of(endpoint), tags={"a": "2"})
    update_batch_endpoint(endpoint, wish, by=None)
    update_batch_endpoint(endpoint, wish, by=None)
    activity = Activity.objects.get()
    assert (activity.before, activity.after) == ({"tags": {"a": "1"}}, {"tags": {"a": "2"}})


def test_deleting_takes_the_deployments_along_and_twice_is_success() -> None:
    endpoint = make_batch_endpoint(deployments=["blue"])
    delete_batch_endpoint(endpoint, by=None)
    delete_batch_endpoint(endpoint, by=None)
    assert not BatchEndpoint.objects.exists()
    assert not BatchDeployment.objects.exists()
    assert Activity.objects.filter(verb="delete").count() == 1
    with pytest.raises(Conflict, match="deleted meanwhile"):
        update_batch_endpoint(endpoint, spec_of(endpoint), by=None)
