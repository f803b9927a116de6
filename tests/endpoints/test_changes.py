from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from endpoints.changes import EndpointSpec, create_endpoint, delete_endpoint, update_endpoint
from endpoints.gateway import publish
from endpoints.models import EndpointState, OnlineEndpoint
from endpoints.names import suggest
from tests.factories import make_online_endpoint, make_user, make_workspace
from workspaces.errors import Conflict, UserError, ValidationFailed
from workspaces.models import Quota

pytestmark = pytest.mark.django_db


def test_an_endpoint_is_made_with_two_different_sealed_keys() -> None:
    workspace = make_workspace()
    endpoint = create_endpoint(workspace, EndpointSpec("churn"), by=make_user("alice"))
    route = publish.route_of(endpoint)
    assert len(set(route.keys)) == 2
    assert all(len(key) == 32 for key in route.keys)
    assert not any(key in endpoint.primary_key_sealed for key in route.keys)
    assert endpoint.state == EndpointState.SUCCEEDED


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "x" * 33,
        "1abc",
        "my_model",
        "abc-",
        "-abc",
        "a b c",
        "ümlaut",
        "abc\n",
        "a.b.c",
        "名前です",
        None,
        7,
    ],
)
def test_a_wrong_name_is_refused(name: Any) -> None:
    with pytest.raises(UserError) as caught:
        create_endpoint(make_workspace(), EndpointSpec(name), by=None)
    assert caught.value.target == "name"
    assert not OnlineEndpoint.objects.exists()


def test_a_wrong_name_comes_with_a_suggestion() -> None:
    assert suggest("my_model") == "my-model"
    assert suggest("1abc!") == "abc"
    assert suggest("??") == ""


def test_a_taken_name_is_a_conflict_whatever_its_case_or_workspace() -> None:
    create_endpoint(make_workspace(), EndpointSpec("Churn"), by=None)
    with pytest.raises(Conflict, match="'churn' is in use"):
        create_endpoint(make_workspace(), EndpointSpec("churn"), by=None)


def test_all_wrong_fields_are_told_at_once() -> None:
    wrong: dict[str, Any] = {
        "auth_mode": "password",
        "tags": {"a": 1},
        "traffic": {"blue": 100},
        "identity": {"type": "x"},
    }
    with pytest.raises(ValidationFailed) as caught:
        create_endpoint(make_workspace(), EndpointSpec("ok-name", **wrong), by=None)
    targets = [error.target for error in caught.value.errors]
    assert targets == ["tags", "auth_mode", "traffic", "identity.type"]


def test_a_used_up_quota_is_told_with_its_figures() -> None:
    workspace = make_workspace()
    Quota.objects.create(workspace=workspace, resource="endpoints", limit=1)
    create_endpoint(workspace, EndpointSpec("one-one"), by=None)
    with pytest.raises(UserError, match="may have 1 endpoint; 1 is used"):
        create_endpoint(workspace, EndpointSpec("two-two"), by=None)


def test_only_some_fields_of_an_endpoint_change() -> None:
    endpoint = make_online_endpoint()
    update_endpoint(endpoint, {"description": "new", "tags": {"a": "b"}}, by=None)
    endpoint.refresh_from_db()
    assert (endpoint.description, endpoint.revision) == ("new", 2)
    with pytest.raises(UserError, match="'name' of an endpoint cannot be changed"):
        update_endpoint(endpoint, {"name": "other"}, by=None)
    with pytest.raises(Conflict, match="changed meanwhile"):
        update_endpoint(endpoint, {"description": "newer"}, by=None, based_on=1)


def test_a_deleted_endpoint_leaves_the_gateway_at_once_and_twice_is_success() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    assert endpoint.pk in publish.versions()
    delete_endpoint(endpoint, by=None)
    delete_endpoint(endpoint, by=None)
    assert endpoint.pk not in publish.versions()
    assert list(publish.routes([endpoint.pk])) == []


def test_the_routes_of_all_endpoints_cost_two_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    workspace = make_workspace()
    for _ in range(5):
        make_online_endpoint(workspace, deployments={"blue": 100, "green": 0})
    with django_assert_num_queries(2):
        assert len(list(publish.routes())) == 5
