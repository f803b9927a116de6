"""Changes reach Envoy at once and cost no request, and Envoy lives without whoever sends them."""

import random
from functools import partial

import orjson
import pytest

from endpoints.gateway.envoy import Envoy
from endpoints.gateway.resources import CLUSTER, EndpointRoute, endpoint_resources
from endpoints.gateway.store import ResourceStore
from tests.endpoints.gateway.conftest import Stage

pytestmark = pytest.mark.real

CONNECTED = "/stats?filter=control_plane.connected_state"


def version_of(stage: Stage, cluster: str) -> str:
    """What the store holds of the cluster now."""
    found = stage.store.get((CLUSTER, cluster))
    assert found is not None
    return found.version


def is_in_force(stage: Stage, version: str) -> bool:
    return version in stage.versions()


def test_hundreds_of_changes_under_load_cost_no_request(stage: Stage) -> None:
    blue, green, spare = stage.model("blue"), stage.model("green"), stage.model("spare")
    chance = random.Random(7)
    failures: list[tuple[int, str]] = []
    running = True

    def load() -> int:
        served = 0
        while running:
            answer = stage.client.post("/loaded/score", content=b"{}")
            served += 1
            if answer.status_code != 200:
                failures.append((answer.status_code, answer.text))
        return served

    def change(number: int) -> EndpointRoute:
        share = chance.choice([0, 10, 50, 90, 100])
        instances = [spare] if number % 3 else []
        limit = 50 + chance.randrange(3)
        return EndpointRoute(
            "loaded",
            auth_mode="key",
            keys=("primary-key", f"second-{number}"),
            deployments=(
                stage.deployment(
                    "blue",
                    blue,
                    *instances,
                    weight=share,
                    max_concurrent_requests_per_instance=limit,
                ),
                stage.deployment("green", green, weight=100 - share),
                # Comes and goes, with its cluster.
                *([stage.deployment("red", spare)] if number % 2 else []),
            ),
        )

    stage.publish("loaded", stage.deployment("blue", blue, weight=100))
    threads = [stage._pool.submit(load) for _ in range(2)]
    for number in range(300):
        resources = endpoint_resources(change(number), region="local")
        stage.call(partial(stage.store.set_endpoint, "loaded", resources))
        if number % 3 == 0:
            # Every third is waited for; the others pile up on each other.
            stage.until(partial(is_in_force, stage, version_of(stage, "loaded__blue")))
    running = False
    assert all(thread.result() > 0 for thread in threads)
    assert failures == []
    assert stage.rejections == []


def test_a_new_deployment_gets_traffic_in_one_step_without_a_failure(stage: Stage) -> None:
    """Routes follow the cluster they name, and leave before it does."""
    blue, green = stage.model("blue"), stage.model("green")
    for _ in range(30):
        stage.publish("swap", stage.deployment("blue", blue, weight=100))
        assert stage.client.post("/swap/score").text == "blue"
        stage.publish("swap", stage.deployment("green", green, weight=100))
        assert stage.client.post("/swap/score").text == "green"


def test_instances_come_and_go_without_a_new_cluster(stage: Stage) -> None:
    first, second = stage.model("first"), stage.model("second")
    stage.publish("moving", stage.deployment("blue", first, weight=100))
    assert stage.client.post("/moving/score").text == "first"
    stage.publish("moving", stage.deployment("blue", second, weight=100))
    stage.until(lambda: stage.client.post("/moving/score").text == "second")
    answers = {stage.client.post("/moving/score").text for _ in range(20)}
    assert answers == {"second"}


def test_an_endpoint_that_is_removed_is_gone_and_may_come_back(stage: Stage) -> None:
    model = stage.model("blue")
    blue = stage.deployment("blue", model, weight=100)
    stage.publish("brief", blue)
    assert stage.client.post("/brief/score").status_code == 200
    assert stage.call(lambda: stage.store.remove_endpoint("brief")) is True
    stage.until(lambda: stage.client.post("/brief/score").status_code == 401)
    assert stage.call(lambda: stage.store.remove_endpoint("brief")) is False
    stage.publish("brief", blue)
    assert stage.client.post("/brief/score").status_code == 200


def test_what_envoy_refuses_is_told_and_harms_no_other_endpoint(stage: Stage) -> None:
    model = stage.model("blue")
    blue = stage.deployment("blue", model, weight=100)
    good = endpoint_resources(EndpointRoute("good", "key", (blue,), ("primary-key",)))
    bad = endpoint_resources(EndpointRoute("bad", "key", (blue,), ("primary-key",)))
    # What protobuf takes and Envoy refuses.
    bad[CLUSTER, "bad__blue"] = {**bad[CLUSTER, "bad__blue"], "connect_timeout": "-1s"}

    def both() -> None:
        stage.store.set_endpoint("bad", bad)
        stage.store.set_endpoint("good", good)

    stage.call(both)
    stage.until(lambda: stage.client.post("/good/score").status_code == 200)
    [rejection] = stage.until(lambda: stage.rejections)
    assert (rejection.endpoint, rejection.name) == ("bad", "bad__blue")
    assert "Expected positive duration" in rejection.message
    stage.rejections.clear()
    stage.call(lambda: stage.store.remove_endpoint("bad"))


def test_what_protobuf_refuses_is_told_too(stage: Stage) -> None:
    stage.call(
        lambda: stage.store.set_endpoint("typo", {(CLUSTER, "typo__a"): {"nmae": "typo__a"}})
    )
    [rejection] = stage.until(lambda: stage.rejections)
    assert (rejection.endpoint, rejection.name) == ("typo", "typo__a")
    stage.rejections.clear()
    stage.call(lambda: stage.store.remove_endpoint("typo"))


def test_scoring_goes_on_without_the_control_plane_which_then_catches_up(stage: Stage) -> None:
    blue, green = stage.model("blue"), stage.model("green")
    stage.publish("alone", stage.deployment("blue", blue, weight=100))
    stage.publish("doomed", stage.deployment("blue", blue, weight=100))
    stage.stop_xds()
    assert {stage.client.post("/alone/score").text for _ in range(50)} == {"blue"}

    # A new process: it knows the snapshot, and then what changed meanwhile.
    stage.store = ResourceStore(stage.snapshot)
    assert stage.store.load() > 0
    stage.store.remove_endpoint("doomed")
    moved = EndpointRoute(
        "alone", "key", (stage.deployment("green", green, weight=100),), ("primary-key",)
    )
    stage.store.set_endpoint("alone", endpoint_resources(moved, region="local"))
    stage.store.is_current = True
    stage.start_xds()
    stage.until(lambda: stage.client.post("/alone/score").text == "green")
    stage.until(lambda: stage.client.post("/doomed/score").status_code == 401)
    assert stage.rejections == []


def test_a_changed_cluster_is_warm_again_after_the_control_plane_came_back(stage: Stage) -> None:
    model = stage.model("blue")
    stage.publish("rewarmed", stage.deployment("blue", model, weight=100))
    stage.stop_xds()
    changed = stage.deployment("blue", model, weight=100, max_concurrent_requests_per_instance=77)
    route = EndpointRoute("rewarmed", "key", (changed,), ("primary-key",))
    stage.store.set_endpoint("rewarmed", endpoint_resources(route, region="local"))
    version = version_of(stage, "rewarmed__blue")
    stage.start_xds()
    # Without its assignment sent again it would warm until Envoy's 15 seconds are over.
    stage.until(partial(is_in_force, stage, version), seconds=10)
    assert stage.client.post("/rewarmed/score").status_code == 200


def test_a_new_envoy_gets_everything_from_the_snapshot(stage: Stage) -> None:
    model = stage.model("blue")
    stage.publish("snapped", stage.deployment("blue", model, weight=100))
    stage.stop_xds()
    assert stage.snapshot.stat().st_mode & 0o777 == 0o600
    stage.store = ResourceStore(stage.snapshot)
    stage.store.load()
    stage.start_xds()
    before = stage.envoy.pid()
    stage.envoy.drain_and_stop(5)
    stage.envoy = Envoy(stage.settings)
    assert stage.envoy.start() != before
    stage.until(stage.envoy.is_ready)
    stage.until(lambda: stage.client.post("/snapped/score").status_code == 200)
    stage.store.is_current = True


def test_envoy_starts_with_no_endpoint_at_all(stage: Stage) -> None:
    stage.call(lambda: stage.store.replace_all({}))
    stage.envoy.drain_and_stop(5)
    stage.envoy.start()
    stage.until(stage.envoy.is_ready)
    assert stage.client.post("/any/score").status_code == 401


def test_an_old_snapshot_takes_nothing_from_an_envoy_that_knows_more(stage: Stage) -> None:
    stage.publish_one("kept-kept")
    with_both = {name: stage.store._endpoints[name] for name in list(stage.store._endpoints)}
    stage.until(
        lambda: b"kept-kept" in (stage.snapshot.read_bytes() if stage.snapshot.exists() else b"")
    )
    stage.stop_xds()
    # A watch that starts from a copy older than what Envoy was told last.
    lines = stage.snapshot.read_bytes().splitlines(keepends=True)
    stage.snapshot.write_bytes(b"".join(line for line in lines if b"kept-kept" not in line))
    stage.store = ResourceStore(stage.snapshot)
    stage.call(stage.store.load)
    stage.start_xds()
    stage.until(lambda: stage.envoy._admin("GET", CONNECTED)[1].strip().endswith("1"))
    for _ in range(50):
        assert stage.client.post("/kept-kept/score").status_code == 200

    # Now the rows are read: one endpoint is still there, one was deleted meanwhile.
    def rows_are_read() -> None:
        everything = {
            name: {
                (key[0], key[1]): orjson.loads(resource.json)
                for key, resource in resources.items()
            }
            for name, resources in with_both.items()
        }
        stage.store.replace_all(everything)

    stage.call(rows_are_read)
    for _ in range(50):
        assert stage.client.post("/kept-kept/score").status_code == 200
    stage.call(lambda: stage.store.remove_endpoint("kept-kept"))
    stage.until(lambda: stage.client.post("/kept-kept/score").status_code == 401)


def test_what_was_deleted_while_nobody_watched_goes_once_the_rows_are_read(stage: Stage) -> None:
    stage.publish_one("left-over")
    stage.until(lambda: stage.snapshot.exists() and b"left-over" in stage.snapshot.read_bytes())
    stage.stop_xds()
    stage.store = ResourceStore(stage.snapshot)
    stage.call(stage.store.load)
    stage.start_xds()
    stage.call(lambda: stage.store.replace_all({}))
    stage.until(lambda: stage.client.post("/left-over/score").status_code == 401)
