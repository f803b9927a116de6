"""What Envoy is told, decided without Envoy."""

import json
from typing import Any

import pytest

from endpoints.gateway.resources import (
    ASSIGNMENT,
    CLUSTER,
    NO_TRAFFIC,
    ROUTES,
    SCOPE,
    DeploymentRoute,
    EndpointRoute,
    endpoint_resources,
    socket_address,
)


def deployment(name: str, weight: int = 0, **facts: Any) -> DeploymentRoute:
    defaults: dict[str, Any] = {
        "mirror_percent": 0,
        "addresses": ("unix:/run/a.sock",),
        "max_concurrent_requests_per_instance": 2,
        "instance_count": 3,
        "request_timeout_ms": 5_000,
    }
    return DeploymentRoute(name, weight, **{**defaults, **facts})


def endpoint(*deployments: DeploymentRoute, name: str = "Iris", **facts: Any) -> EndpointRoute:
    defaults: dict[str, Any] = {"auth_mode": "key", "keys": ("one", "two")}
    return EndpointRoute(name, deployments=deployments, **{**defaults, **facts})


def host_of(route: EndpointRoute) -> dict[str, Any]:
    host: dict[str, Any] = endpoint_resources(route)[ROUTES, route.name]["virtual_hosts"][0]
    return host


def filters_of(route: EndpointRoute) -> dict[str, Any]:
    filters: dict[str, Any] = host_of(route)["typed_per_filter_config"]
    return filters


def test_an_endpoint_has_one_route_table_and_two_resources_per_deployment() -> None:
    found = endpoint_resources(endpoint(deployment("blue", 100), deployment("green")))
    assert sorted(found) == sorted(
        [
            (SCOPE, "Iris"),
            (SCOPE, "Iris~lower"),
            (ROUTES, "Iris"),
            (CLUSTER, "Iris__blue"),
            (CLUSTER, "Iris__green"),
            (ASSIGNMENT, "Iris__blue"),
            (ASSIGNMENT, "Iris__green"),
        ]
    )
    json.dumps(list(found.values()))


def test_a_name_is_found_as_written_in_lower_case_and_by_host_name() -> None:
    found = endpoint_resources(endpoint(), region="Local")
    keys = {
        tuple(fragment["string_key"] for fragment in resource["key"]["fragments"])
        for (kind, _), resource in found.items()
        if kind == SCOPE
    }
    assert keys == {("Iris",), ("iris",), ("iris", "local")}


def test_as_many_requests_are_let_in_as_twice_the_concurrency_of_all_instances() -> None:
    found = endpoint_resources(endpoint(deployment("blue", 100)))
    [thresholds] = found[CLUSTER, "Iris__blue"]["circuit_breakers"]["thresholds"]
    assert thresholds["max_requests"] == 2 * 2 * 3
    assert thresholds["max_pending_requests"] >= thresholds["max_requests"]


def test_an_instance_that_comes_changes_only_the_assignment() -> None:
    before = endpoint_resources(endpoint(deployment("blue", 100, addresses=())))
    after = endpoint_resources(endpoint(deployment("blue", 100)))
    assert [key for key in after if after[key] != before[key]] == [(ASSIGNMENT, "Iris__blue")]


def test_shares_are_cumulative_and_the_last_deployment_takes_the_rest() -> None:
    route = endpoint(
        deployment("blue", 70), deployment("green", 20), deployment("off"), deployment("red", 10)
    )
    matches = {found["name"]: found["match"] for found in host_of(route)["routes"]}
    fractions = {
        name: match.get("runtime_fraction", {}).get("default_value", {}).get("numerator")
        for name, match in matches.items()
        if name.endswith("/split")
    }
    assert fractions == {"Iris/blue/split": 70, "Iris/green/split": 90, "Iris/red/split": None}


def test_without_traffic_the_answer_is_azures_sentence() -> None:
    *_, last = host_of(endpoint(deployment("blue", 0)))["routes"]
    assert last["direct_response"]["status"] == 404
    assert last["direct_response"]["body"]["inline_string"] == NO_TRAFFIC


def test_a_deployment_with_live_traffic_is_not_mirrored_to() -> None:
    route = endpoint(deployment("blue", 100, mirror_percent=20))
    assert "request_mirror_policies" not in json.dumps(host_of(route))


def test_each_deployment_keeps_its_own_timeout() -> None:
    route = endpoint(deployment("a", 50, request_timeout_ms=90_000), deployment("b", 50))
    timeouts = {
        found["name"]: found["route"]["timeout"]
        for found in host_of(route)["routes"]
        if found["name"].endswith("/split")
    }
    assert timeouts == {"Iris/a/split": "90.000s", "Iris/b/split": "5.000s"}


@pytest.mark.parametrize(
    "facts",
    [{"auth_mode": "key", "keys": ()}, {"auth_mode": "key", "keys": ("",)}, {"auth_mode": "new"}],
)
def test_without_a_key_or_with_an_unknown_mode_nothing_is_opened(facts: dict[str, Any]) -> None:
    assert filters_of(endpoint(deployment("blue", 100), **facts)) == {}


def test_a_key_that_is_there_twice_is_sent_once() -> None:
    filters = filters_of(endpoint(keys=("same", "same")))
    credentials = filters["envoy.filters.http.api_key_auth"]["credentials"]
    assert [credential["key"] for credential in credentials] == ["same"]


def test_keys_do_not_show_in_the_repr() -> None:
    assert "secret" not in repr(endpoint(keys=("secret",)))


def test_a_token_endpoint_that_is_not_public_asks_for_both() -> None:
    rbac = filters_of(endpoint(auth_mode="aml_token", public=False))["envoy.filters.http.rbac"]
    [principal] = rbac["rbac"]["rules"]["policies"]["caller"]["principals"]
    claim, network = principal["and_ids"]["ids"]
    assert "sourced_metadata" in claim
    assert {"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}} in network["or_ids"][
        "ids"
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/run/a.sock", {"pipe": {"path": "/run/a.sock"}}),
        ("10.1.2.3:5001", {"socket_address": {"address": "10.1.2.3", "port_value": 5001}}),
        ("[::1]:5001", {"socket_address": {"address": "::1", "port_value": 5001}}),
    ],
)
def test_addresses_of_three_kinds_are_understood(address: str, expected: dict[str, Any]) -> None:
    assert socket_address(address) == expected


@pytest.mark.parametrize("address", ["localhost:80", "10.0.0.1", "", "10.0.0.1:http"])
def test_other_addresses_are_refused_by_name(address: str) -> None:
    with pytest.raises(ValueError, match=f"Instance address '{address}'"):
        socket_address(address)
