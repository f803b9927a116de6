"""The health of an endpoint, case by case; and that many endpoints cost one query."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from monitoring.overview import Failures
from portal.studio.health import DeploymentFacts, Health, facts_of, health_of
from tests.factories import make_cast, make_online_endpoint


def facts(
    name: str = "blue", state: str = "Succeeded", wanted: int = 2, ready: int = 2
) -> DeploymentFacts:
    return DeploymentFacts(name, state, wanted, ready)


@pytest.mark.parametrize(
    ("traffic", "deployments", "word"),
    [
        ({}, [], "Empty"),
        ({"blue": 100}, [facts()], "Healthy"),
        ({"blue": 100}, [facts(ready=1)], "Degraded"),
        ({"blue": 100}, [facts(ready=0)], "Unhealthy"),
        ({"blue": 90, "green": 10}, [facts(), facts("green", ready=0)], "Unhealthy"),
        ({"blue": 100}, [facts(), facts("green", "Failed", ready=0)], "Degraded"),
        ({"blue": 100}, [facts(), facts("green", "Creating", ready=0)], "Healthy"),
        ({}, [facts("blue", "Creating", ready=0)], "Starting"),
        ({}, [facts("blue", "Failed", ready=0)], "Unhealthy"),
        ({}, [facts()], "Healthy"),
        # While an update rolls, instances of two revisions answer.
        ({"blue": 100}, [facts(state="Updating", ready=3)], "Healthy"),
    ],
)
def test_health_follows_the_deployments_that_serve(
    traffic: dict[str, int], deployments: list[DeploymentFacts], word: str
) -> None:
    assert health_of("Succeeded", traffic, deployments).word == word


@pytest.mark.parametrize(
    ("failed_percent", "word", "detail"),
    [
        (0.9, "Healthy", ""),
        (12.34, "Degraded", "12.3 % of 81 requests failed in the last 15 minutes"),
        (50.0, "Unhealthy", "50 % of 81 requests failed in the last 15 minutes"),
    ],
)
def test_an_endpoint_whose_requests_fail_is_not_healthy_though_all_instances_are_ready(
    failed_percent: float, word: str, detail: str
) -> None:
    found = health_of("Succeeded", {"blue": 100}, [facts()], Failures(81, failed_percent))
    assert (found.word, found.detail.replace("\N{NARROW NO-BREAK SPACE}", " ")) == (word, detail)


def test_many_failed_deployments_are_counted() -> None:
    failed = [facts(f"try-{number}", "Failed", ready=0) for number in range(5)]
    found = health_of("Succeeded", {"blue": 100}, [facts(), *failed])
    assert found == Health("Degraded", "try-0 and 4 more failed")


def test_an_endpoint_that_is_being_deleted_is_neither_well_nor_ill() -> None:
    assert health_of("Deleting", {"blue": 100}, [facts(ready=0)]) == Health("Deleting")


def test_degraded_says_how_many_are_ready() -> None:
    assert (
        health_of("Succeeded", {"blue": 100}, [facts(ready=1)]).detail == "1 of 2 instances ready"
    )


@pytest.mark.django_db
def test_the_facts_of_many_endpoints_are_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    workspace = make_cast().workspace
    endpoints = [
        make_online_endpoint(workspace, deployments={"blue": 90, "green": 10}) for _ in range(5)
    ]
    with django_assert_num_queries(1):
        found = facts_of([endpoint.pk for endpoint in endpoints])
    assert [item.name for item in found[endpoints[0].pk]] == ["blue", "green"]
    assert found[endpoints[0].pk][0] == DeploymentFacts("blue", "Succeeded", 1, 1)
