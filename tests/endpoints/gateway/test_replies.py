"""Each cause of failure has its code, its headers and its sentence: through a real Envoy."""

import httpx
import pytest

from tests.endpoints.gateway.conftest import Stage

pytestmark = pytest.mark.real
STATUS, REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"
SERVERS_OWN = "x-ms-run-function-failed=False"


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-ms-request-id"] == answer.headers["x-request-id"]
    return answer.status_code, answer.json()["error"]["code"]


def test_a_model_slower_than_its_timeout_is_408(stage: Stage) -> None:
    model = stage.publish_one("slow", request_timeout_ms=100)
    answer = stage.client.post("/slow/score", headers={"x-do": "wait"})
    assert error_of(answer) == (408, "RequestTimeout")
    assert answer.headers["azureml-model-deployment"] == "blue"
    stage.call(model.release.set)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_above_the_gateways_limit_is_413(stage: Stage, is_chunked: bool) -> None:
    model = stage.publish_one("large")

    def post(size: int) -> httpx.Response:
        body = b"x" * size
        return stage.client.post("/large/score", content=iter([body]) if is_chunked else body)

    assert post(1_000_000).status_code == 200
    assert error_of(post(1_000_001)) == (413, "PayloadTooLarge")
    assert len(model.seen) == 1


def test_an_endpoint_may_set_a_lower_limit(stage: Stage) -> None:
    blue = stage.deployment("blue", stage.model("blue"), weight=100)
    stage.publish("lower", blue, max_body_bytes=1000)
    assert stage.client.post("/lower/score", content=b"x" * 1000).status_code == 200
    answer = stage.client.post("/lower/score", content=b"x" * 1001)
    assert error_of(answer) == (413, "PayloadTooLarge")


@pytest.mark.parametrize("status", [400, 404, 408, 500, 502])
def test_an_error_of_the_model_is_424_with_its_own_code_and_body(
    stage: Stage, status: int
) -> None:
    stage.publish_one("failing")
    answer = stage.client.post("/failing/score", headers={"x-do": f"status {status}"})
    assert answer.status_code == 424
    assert answer.text == "from the model"
    assert answer.headers[STATUS] == str(status)
    assert answer.headers[REASON] == "model_error"
    assert answer.headers["azureml-model-deployment"] == "blue"


@pytest.mark.parametrize("status", [200, 201, 302])
def test_other_answers_of_the_model_pass(stage: Stage, status: int) -> None:
    stage.publish_one("passing")
    answer = stage.client.post("/passing/score", headers={"x-do": f"status {status}"})
    assert answer.status_code == status
    assert STATUS not in answer.headers
    assert int(answer.headers["ms-azureml-model-time"]) >= 0


def test_a_full_queue_of_the_instances_server_is_429(stage: Stage) -> None:
    stage.publish_one("full")
    answer = stage.client.post("/full/score", headers={"x-do": f"status 429 {SERVERS_OWN}"})
    assert answer.status_code == 429
    assert answer.headers[REASON] == "too_many_pending_request"
    assert STATUS not in answer.headers


def test_the_clock_of_the_instances_server_is_408_as_the_gateways(stage: Stage) -> None:
    stage.publish_one("late")
    answer = stage.client.post("/late/score", headers={"x-do": f"status 408 {SERVERS_OWN}"})
    assert answer.status_code == 408
    assert STATUS not in answer.headers


@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize("named", ["", f"{SERVERS_OWN} x-ms-run-fn-exec-ms=0.1"])
def test_the_same_codes_of_a_script_or_container_are_errors_of_the_model(
    stage: Stage, status: int, named: str
) -> None:
    stage.publish_one("own-codes")
    answer = stage.client.post(
        "/own-codes/score", headers={"x-do": f"status {status} {named}".strip()}
    )
    assert (answer.status_code, answer.headers[STATUS]) == (424, str(status))
    assert answer.headers[REASON] == "model_error"


def test_a_server_without_a_worker_says_that_the_model_is_not_ready(stage: Stage) -> None:
    stage.publish_one("warming")
    answer = stage.client.post("/warming/score", headers={"x-do": f"status 503 {SERVERS_OWN}"})
    assert (answer.status_code, answer.headers[STATUS]) == (424, "503")
    assert answer.headers[REASON] == "model_not_ready"


def test_an_instance_that_dies_under_the_request_is_424_and_is_not_asked_twice(
    stage: Stage,
) -> None:
    model = stage.publish_one("dying")
    answer = stage.client.post("/dying/score", headers={"x-do": "die"})
    assert error_of(answer) == (424, "ModelError")
    assert (answer.headers[STATUS], answer.headers[REASON]) == ("502", "model_error")
    assert len(model.seen) == 1


def test_more_than_twice_the_concurrency_is_429(stage: Stage) -> None:
    model = stage.publish_one("busy", max_concurrent_requests_per_instance=2, instance_count=1)
    waiting = [stage.background("/busy/score", x_do="wait") for _ in range(4)]
    stage.until(lambda: model.running == 4)
    answer = stage.client.post("/busy/score")
    assert error_of(answer) == (429, "TooManyPendingRequests")
    assert answer.headers[REASON] == "too_many_pending_request"
    assert answer.headers["retry-after"] == "1"
    stage.call(model.release.set)
    assert [future.result().status_code for future in waiting] == [200] * 4
    assert stage.client.post("/busy/score").status_code == 200


def test_more_requests_per_second_than_allowed_are_429(stage: Stage) -> None:
    blue = stage.deployment("blue", stage.model("blue"), weight=100)
    stage.publish("rated", blue, requests_per_second=3)
    answers = [stage.client.post("/rated/score") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {error_of(answer) for answer in refused} == {(429, "RateLimited")}
    assert refused[0].headers[REASON] == "rate_limited"


def test_a_deployment_without_instances_is_503(stage: Stage) -> None:
    stage.publish("nobody", stage.deployment("blue", weight=100))
    assert error_of(stage.client.post("/nobody/score")) == (503, "NoHealthyInstance")


def test_an_instance_that_does_not_listen_is_503(stage: Stage) -> None:
    model = stage.publish_one("gone")
    stage.run(model.kill())
    assert error_of(stage.client.post("/gone/score")) == (503, "InstanceUnreachable")
