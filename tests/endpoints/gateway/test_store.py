"""Versions and the snapshot: what the next process finds."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from endpoints.gateway.resources import (
    ASSIGNMENT,
    CLUSTER,
    DeploymentRoute,
    EndpointRoute,
    Resources,
    endpoint_resources,
)
from endpoints.gateway.store import ResourceStore, Versioned


def resources(name: str, **facts: Any) -> Resources:
    defaults: dict[str, Any] = {
        "weight": 100,
        "mirror_percent": 0,
        "addresses": ("10.0.0.1:80",),
        "max_concurrent_requests_per_instance": 1,
        "instance_count": 1,
        "request_timeout_ms": 5000,
    }
    blue = DeploymentRoute("blue", **{**defaults, **facts})
    return endpoint_resources(EndpointRoute(name, "key", (blue,), ("k1", "k2")))


def test_equal_content_is_no_change() -> None:
    store = ResourceStore()
    assert store.set_endpoint("iris", resources("iris")) is True
    assert store.set_endpoint("iris", resources("iris")) is False


def test_a_change_tells_which_resources_are_different() -> None:
    store = ResourceStore()
    store.set_endpoint("iris", resources("iris"))
    told: list[frozenset[tuple[str, str]]] = []
    unwatch = store.watch(told.append)
    store.set_endpoint("iris", resources("iris", addresses=()))
    assert told == [{(ASSIGNMENT, "iris__blue")}]
    store.remove_endpoint("iris")
    assert told[1] == set(resources("iris"))
    unwatch()
    store.set_endpoint("iris", resources("iris"))
    assert len(told) == 2


def test_replacing_all_removes_what_is_not_there() -> None:
    store = ResourceStore()
    store.replace_all({"a": resources("a"), "b": resources("b")})
    assert store.replace_all({"b": resources("b"), "c": resources("c")}) == 2 * len(resources("a"))
    assert store.get((CLUSTER, "a__blue")) is None
    assert store.endpoint_of((CLUSTER, "c__blue")) == "c"
    assert len(store) == 2


def test_the_snapshot_gives_the_next_process_the_same_versions(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "snapshot.jsonl")
    store.replace_all({"a": resources("a"), "b": resources("b")})
    store.save(store.dump())
    again = ResourceStore(tmp_path / "snapshot.jsonl")
    assert again.load() == 2
    assert again.dump() == store.dump()
    assert again.replace_all({"a": resources("a"), "b": resources("b")}) == 0
    assert (tmp_path / "snapshot.jsonl").stat().st_mode & 0o777 == 0o600


def test_no_snapshot_is_an_empty_store(tmp_path: Path) -> None:
    assert ResourceStore(tmp_path / "none").load() == 0
    ResourceStore().save(b"")


def test_a_damaged_snapshot_is_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.jsonl"
    path.write_bytes(b'{"endpoint": "a", "reso')
    store = ResourceStore(path)
    assert store.load() == 0
    assert len(store) == 0


def test_every_kind_of_resource_is_understood_by_protobuf() -> None:
    blue = DeploymentRoute("blue", 100, 0, ("unix:/a",), 1, 1, 5000, "/v1/predict")
    shadow = DeploymentRoute("shadow", 0, 10, ("[::1]:80",), 1, 1, 5000)
    facts: dict[str, Any] = {
        "deployments": (blue, shadow),
        "max_body_bytes": 10,
        "requests_per_second": 5,
        "cors_origins": ("*", "https://a.test"),
        "public": False,
    }
    for mode, keys in (("key", ("k",)), ("aml_token", ()), ("aad_token", ())):
        route = EndpointRoute("Iris", auth_mode=mode, keys=keys, **facts)
        for (kind, _), resource in endpoint_resources(route, region="local").items():
            assert Versioned(kind, resource).packed.type_url == kind


def test_a_resource_with_an_unknown_field_cannot_be_packed() -> None:
    with pytest.raises(json_format.ParseError, match="nmae"):
        _ = Versioned(CLUSTER, {"nmae": "x"}).packed
