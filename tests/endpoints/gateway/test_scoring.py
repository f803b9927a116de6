"""Who gets in, and which deployment answers: through a real Envoy."""

import time
from typing import Any

import httpx
import pytest

from endpoints.gateway.resources import NO_TRAFFIC, UNKNOWN_DEPLOYMENT
from tests.endpoints.gateway.conftest import Stage

pytestmark = pytest.mark.real
DEPLOYMENT = "azureml-model-deployment"


def test_requests_follow_the_split(stage: Stage) -> None:
    blue, green = stage.model("blue"), stage.model("green")
    stage.publish(
        "split",
        stage.deployment("blue", blue, weight=90),
        stage.deployment("green", green, weight=10),
    )
    answers = [stage.client.post("/split/score") for _ in range(600)]
    assert {answer.status_code for answer in answers} == {200}
    # 60 expected, standard deviation 7.3: six of them on each side.
    assert 16 < sum(answer.text == "green" for answer in answers) < 104
    assert all(answer.headers[DEPLOYMENT] == answer.text for answer in answers)


def test_the_deployment_header_goes_past_the_split_even_at_0_percent(stage: Stage) -> None:
    blue, green = stage.model("blue"), stage.model("green")
    stage.publish(
        "bypass", stage.deployment("blue", blue, weight=100), stage.deployment("green", green)
    )
    for name in ("green", "Green"):
        answers = [stage.client.post("/bypass/score", headers={DEPLOYMENT: name}) for _ in "123"]
        assert [answer.text for answer in answers] == ["green"] * 3
    assert stage.client.post("/bypass/score").text == "blue"


def test_an_unknown_deployment_is_404_but_only_for_callers_with_a_key(stage: Stage) -> None:
    stage.publish_one("unknown")
    headers = {DEPLOYMENT: "nope"}
    answer = stage.client.post("/unknown/score", headers=headers)
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "NotFound", "message": UNKNOWN_DEPLOYMENT}}
    stranger = stage.client.post("/unknown/score", headers={**headers, "authorization": "no"})
    assert stranger.status_code == 401


def test_with_all_weights_0_only_the_header_reaches_a_deployment(stage: Stage) -> None:
    stage.publish("zero", stage.deployment("blue", stage.model("blue")))
    answer = stage.client.post("/zero/score")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == NO_TRAFFIC
    assert stage.client.post("/zero/score", headers={DEPLOYMENT: "blue"}).text == "blue"


def test_an_endpoint_without_deployments_says_so(stage: Stage) -> None:
    stage.publish("empty")
    assert stage.client.post("/empty/score").json()["error"]["message"] == NO_TRAFFIC


def test_the_model_sees_paths_without_the_endpoints_name(stage: Stage) -> None:
    model = stage.publish_one("paths")
    for path in ("/paths/score?a=1", "/paths/swagger.json?version=3", "/paths/v2/health/ready"):
        assert stage.client.get(path).status_code == 200
    assert [seen["line"].split()[1] for seen in model.seen] == [
        "/score?a=1",
        "/swagger.json?version=3",
        "/v2/health/ready",
    ]


def test_a_deployment_may_score_at_another_path(stage: Stage) -> None:
    blue, green = stage.model("blue"), stage.model("green")
    stage.publish(
        "custom",
        stage.deployment("blue", blue, weight=100, scoring_path="/v1/predict"),
        stage.deployment("green", green),
    )
    stage.client.post("/custom/score?a=1")
    stage.client.post("/custom/other")
    stage.client.post("/custom/score", headers={DEPLOYMENT: "green"})
    assert [seen["line"].split()[1] for seen in blue.seen] == ["/v1/predict?a=1", "/other"]
    assert [seen["line"].split()[1] for seen in green.seen] == ["/score"]


def test_an_endpoint_answers_to_its_name_in_lower_case_and_as_written(stage: Stage) -> None:
    model = stage.publish_one("CamelCase")
    for path in ("/CamelCase/score", "/camelcase/score"):
        assert stage.client.post(path).status_code == 200
    assert {seen["line"] for seen in model.seen} == {"POST /score HTTP/1.1"}


def test_both_keys_open_and_the_model_never_sees_them(stage: Stage) -> None:
    model = stage.publish_one("keys")
    for key in ("primary-key", "secondary-key"):
        headers = {"authorization": f"Bearer {key}"}
        assert stage.client.post("/keys/score", headers=headers).status_code == 200
    assert all("authorization" not in seen["headers"] for seen in model.seen)


@pytest.mark.parametrize("credential", ["", "Bearer", "Bearer wrong", "Bearer primary-key2"])
def test_without_the_right_key_nothing_reaches_the_model(stage: Stage, credential: str) -> None:
    model = stage.publish_one("closed")
    answer = stage.client.post("/closed/score", headers={"authorization": credential})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "Unauthorized"
    assert DEPLOYMENT not in answer.headers
    assert model.seen == []


def test_an_unknown_endpoint_looks_like_a_wrong_key(stage: Stage) -> None:
    stage.publish_one("known")
    wrong = stage.client.post("/known/score", headers={"authorization": "Bearer wrong"})
    unknown = stage.client.post("/nowhere/score")
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.json() == wrong.json()


def test_a_rotated_key_closes_and_the_new_one_opens(stage: Stage) -> None:
    model = stage.model("blue")
    blue = stage.deployment("blue", model, weight=100)
    stage.publish("rotated", blue, keys=("old", "kept"))
    stage.publish("rotated", blue, keys=("new", "kept"))
    codes = [
        stage.client.post("/rotated/score", headers={"authorization": f"Bearer {key}"}).status_code
        for key in ("old", "kept", "new")
    ]
    assert codes == [401, 200, 200]


def test_a_token_opens_its_own_endpoint_only(stage: Stage) -> None:
    model = stage.model("blue")
    for name in ("token-a", "token-b"):
        stage.publish(name, stage.deployment("blue", model, weight=100), auth_mode="aml_token")

    def status(path: str, token: str) -> int:
        return stage.client.post(path, headers={"authorization": f"Bearer {token}"}).status_code

    good = stage.token(endpoint="token-a")
    assert status("/token-a/score", good) == 200
    assert status("/token-b/score", good) == 403
    assert status("/token-a/score", stage.token()) == 403
    assert status("/token-a/score", "primary-key") == 401
    assert status("/token-a/score", good[:-4] + "AAAA") == 401
    assert status("/token-a/score", stage.token(endpoint="token-a", iss="other")) == 401
    expired = stage.token(endpoint="token-a", exp=int(time.time()) - 60)
    assert status("/token-a/score", expired) == 401
    assert stage.client.post("/token-a/score").status_code == 401
    assert all("authorization" not in seen["headers"] for seen in model.seen)


def test_a_directory_token_needs_the_audience_of_scoring_and_the_right_to_score(
    stage: Stage,
) -> None:
    model = stage.model("blue")
    stage.publish(
        "aad", stage.deployment("blue", model, weight=100), auth_mode="aad_token", workspace="7"
    )

    def status(**claims: Any) -> int:
        headers = {"authorization": f"Bearer {stage.token(**claims)}"}
        return stage.client.post("/aad/score", headers=headers).status_code

    assert status(aud="https://ml.azure.com", score=["5", "7"]) == 200
    assert status(aud="https://ml.azure.com", score=["*"]) == 200
    for score in (["5", "77"], [], "7", "*", [7]):
        assert status(aud="https://ml.azure.com", score=score) == 403
    assert status(aud="https://ml.azure.com") == 403
    assert status(aud="https://management.azure.com", score=["7"]) == 403
    assert status() == 403
    assert stage.client.post("/aad/score").status_code == 401


def test_a_mode_that_nobody_knows_lets_nobody_in(stage: Stage) -> None:
    model = stage.model("blue")
    stage.publish("odd", stage.deployment("blue", model, weight=100), auth_mode="new")
    assert stage.client.post("/odd/score").status_code == 401


def test_a_private_endpoint_takes_callers_of_this_machine(stage: Stage) -> None:
    model = stage.model("blue")
    stage.publish("private", stage.deployment("blue", model, weight=100), public=False)
    assert stage.client.post("/private/score").status_code == 200


def test_a_share_of_every_deployments_requests_is_mirrored(stage: Stage) -> None:
    blue, green, shadow = stage.model("blue"), stage.model("green"), stage.model("shadow")
    stage.publish(
        "mirror",
        stage.deployment("blue", blue, weight=50),
        stage.deployment("green", green, weight=50),
        stage.deployment("shadow", shadow, mirror_percent=30),
    )
    answered = {}
    for number in range(300):
        body = str(number).encode()
        # The caller's own mark is not believed.
        answer = stage.client.post(
            "/mirror/score", content=body, headers={"x-gw-mirrored": "true"}
        )
        answered[body] = answer.text
    # 90 expected, standard deviation 7.9.
    stage.until(lambda: len(shadow.seen) > 42)
    assert len(shadow.seen) < 138
    assert {answered[seen["body"]] for seen in shadow.seen} == {"blue", "green"}
    assert {seen["headers"]["x-gw-mirrored"] for seen in shadow.seen} == {"true"}
    assert all("x-gw-mirrored" not in seen["headers"] for seen in blue.seen + green.seen)


def test_a_request_with_the_deployment_header_is_not_mirrored(stage: Stage) -> None:
    blue, shadow = stage.model("blue"), stage.model("shadow")
    stage.publish(
        "unmirrored",
        stage.deployment("blue", blue, weight=100),
        stage.deployment("shadow", shadow, mirror_percent=100),
    )
    for _ in range(5):
        stage.client.post("/unmirrored/score", headers={DEPLOYMENT: "blue"})
    stage.client.post("/unmirrored/score", content=b"last")
    stage.until(lambda: shadow.seen)
    assert [seen["body"] for seen in shadow.seen] == [b"last"]


def test_a_mirror_that_is_dead_costs_the_caller_nothing(stage: Stage) -> None:
    blue, shadow = stage.model("blue"), stage.model("shadow")
    stage.run(shadow.kill())
    stage.publish(
        "dead-mirror",
        stage.deployment("blue", blue, weight=100),
        stage.deployment("shadow", shadow, mirror_percent=100),
    )
    assert {stage.client.post("/dead-mirror/score").status_code for _ in range(30)} == {200}


def test_a_killed_instance_costs_no_request(stage: Stage) -> None:
    first, second = stage.model("first"), stage.model("second")
    stage.publish("killed", stage.deployment("blue", first, second, weight=100))
    seen: set[str] = set()

    def both_answered() -> bool:
        seen.add(stage.client.post("/killed/score").text)
        return len(seen) == 2

    stage.until(both_answered)
    stage.run(first.kill())
    answers = [stage.client.post("/killed/score") for _ in range(200)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "second")}


def test_answers_stream_as_they_are_made(stage: Stage) -> None:
    model = stage.publish_one("stream")
    with stage.client.stream("POST", "/stream/score", headers={"x-do": "stream"}) as answer:
        events = answer.iter_text()
        assert next(events) == "data: first\n\n"
        # The model sends the second event only now: nothing has waited for the whole.
        stage.call(model.release.set)
        assert next(events) == "data: second\n\n"


def test_a_browser_of_an_allowed_origin_may_ask_first(stage: Stage) -> None:
    blue = stage.deployment("blue", stage.model("blue"), weight=100)
    stage.publish("cors", blue, cors_origins=("https://app.test",))

    def preflight(origin: str) -> httpx.Response:
        headers = {"origin": origin, "access-control-request-method": "POST", "authorization": ""}
        return stage.client.options("/cors/score", headers=headers)

    allowed = preflight("https://app.test")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.test"
    assert "access-control-allow-origin" not in preflight("https://evil.test").headers
