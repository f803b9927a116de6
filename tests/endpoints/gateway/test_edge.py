"""What strangers may try, and what they get told: TLS, headers, paths, the log, the studio."""

import ssl
import uuid
from collections.abc import Iterator

import httpx
import pytest

from portal.certificates import ensure_server_certificate
from tests.endpoints.gateway.conftest import Model, Stage

pytestmark = pytest.mark.real


@pytest.fixture
def trusting(stage: Stage) -> ssl.SSLContext:
    """What a client does that was told of the installation's authority, and of nothing else."""
    return ssl.create_default_context(cafile=stage.certificates.authority)


def test_scoring_is_served_over_tls_to_whoever_trusts_the_authority(
    stage: Stage, trusting: ssl.SSLContext
) -> None:
    stage.publish_one("tls")
    with httpx.Client(verify=trusting, headers=stage.client.headers) as client:
        answer = client.post(f"https://localhost:{stage.settings.gateway_port}/tls/score")
    assert answer.text == "blue"


def test_an_endpoint_answers_at_its_own_host_name(stage: Stage, trusting: ssl.SSLContext) -> None:
    model = stage.publish_one("ByHost")
    host = "byhost.local.models.test"
    with httpx.Client(verify=trusting, headers={**stage.client.headers, "host": host}) as client:
        answer = client.post(
            f"https://127.0.0.1:{stage.settings.gateway_port}/score?a=1",
            extensions={"sni_hostname": host},
        )
    assert answer.text == "blue"
    assert model.seen[0]["line"] == "POST /score?a=1 HTTP/1.1"


def test_a_renewed_certificate_is_served_without_a_restart(
    stage: Stage, trusting: ssl.SSLContext
) -> None:
    ensure_server_certificate(
        stage.certificates.certificate.parent, ["*.local.models.test", "new.test"]
    )

    def names() -> bool:
        url = f"https://127.0.0.1:{stage.settings.gateway_port}/"
        try:
            with httpx.Client(verify=trusting) as client:
                client.get(url, extensions={"sni_hostname": "new.test"})
        except httpx.ConnectError:
            return False
        return True

    stage.until(names)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_below_1_2_is_refused(stage: Stage) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=old) as client:
        client.get(f"https://127.0.0.1:{stage.settings.gateway_port}/")


def test_every_answer_carries_a_request_id(stage: Stage) -> None:
    model = stage.publish_one("ids")
    answer = stage.client.post("/ids/score")
    given = answer.headers["x-request-id"]
    assert str(uuid.UUID(given)) == given
    assert answer.headers["x-ms-request-id"] == given
    assert model.seen[0]["headers"]["x-request-id"] == given


def test_a_valid_request_id_of_the_caller_is_kept_and_any_other_replaced(stage: Stage) -> None:
    model = stage.publish_one("caller-ids")
    for sent, kept in (("My-id_1", True), ("a b", False), ("x" * 101, False), ("é", False)):
        headers = {b"x-request-id": sent.encode()}
        given = stage.client.post("/caller-ids/score", headers=headers).headers["x-request-id"]
        assert (given == sent) is kept
        assert model.seen[-1]["headers"]["x-request-id"] == given
        assert "x-gw-caller-request-id" not in model.seen[-1]["headers"]


def test_a_client_request_id_comes_back_cleaned(stage: Stage) -> None:
    stage.publish_one("client-ids")
    for sent, given in (("abc-1_2", "abc-1_2"), ("a b" * 40, "ab" * 20), ("???", None)):
        answer = stage.client.post("/client-ids/score", headers={"x-ms-client-request-id": sent})
        assert answer.headers.get("x-ms-client-request-id") == given


def test_orders_to_envoy_in_headers_are_not_obeyed(stage: Stage) -> None:
    model = stage.publish_one("orders")
    orders = {
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "5",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-alt-stat-name": "mine",
        "x-do": "status 500",
    }
    assert stage.client.post("/orders/score", headers=orders).status_code == 424
    [seen] = model.seen
    assert not [name for name in seen["headers"] if name in orders and name != "x-do"]


def test_no_header_tells_of_envoy(stage: Stage) -> None:
    stage.publish_one("quiet")
    headers = stage.client.post("/quiet/score").headers
    assert headers["server"] == "portico"
    assert not [name for name in headers if name.startswith("x-envoy")]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/x/../trick-a/score", 200),
        ("//trick-a///score", 200),
        ("/trick-b/../trick-a/score", 200),
        ("/trick-a/../trick-b/score", 401),
        ("/trick-a/%2e%2e/trick-b/score", 401),
        ("/trick-a%2fscore", 400),
        ("/trick-a%5cscore", 400),
        ("/", 401),
        ("/trick-a", 200),
    ],
)
def test_a_key_opens_the_endpoint_that_the_path_really_means(
    stage: Stage, path: str, code: int
) -> None:
    one, two = stage.model("one"), stage.model("two")
    stage.publish("trick-a", stage.deployment("blue", one, weight=100), keys=("key-a",))
    stage.publish("trick-b", stage.deployment("blue", two, weight=100), keys=("key-b",))
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-a\r\n\r\n"
    answer = stage.raw(stage.settings.gateway_http_port, request.encode())
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert two.seen == []


@pytest.mark.parametrize(
    "extra",
    [b"x_under: 1", b"content-length: 3\r\ntransfer-encoding: chunked", b"content-length: -1"],
)
def test_ambiguous_requests_are_refused(stage: Stage, extra: bytes) -> None:
    model = stage.publish_one("strict")
    request = b"POST /strict/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer primary-key\r\n"
    answer = stage.raw(stage.settings.gateway_http_port, request + extra + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert model.seen == []


def test_scoring_speaks_no_websocket(stage: Stage) -> None:
    stage.publish_one("nosocket")
    request = (
        b"GET /nosocket/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer primary-key\r\n"
        b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    assert b" 403 " in stage.raw(stage.settings.gateway_http_port, request).splitlines()[0]


def test_the_log_has_a_row_per_request(stage: Stage) -> None:
    stage.publish_one("logged")
    stage.client.post(
        "/logged/score?secret=1",
        content=b"12345",
        headers={"x-request-id": "id-1", "x-ms-client-request-id": "client-1"},
    )
    stage.client.post("/logged/score", headers={"x-do": "status 500"})
    stage.client.post("/logged/score", headers={"authorization": "Bearer wrong"})
    answered, failed, refused = stage.log_rows("logged", 3)
    assert answered["cluster"] == "logged__blue"
    assert (answered["code"], answered["method"], answered["req_bytes"]) == (200, "POST", 5)
    assert (answered["request_id"], answered["client_request_id"]) == ("id-1", "client-1")
    assert answered["total_us"] >= answered["upstream_us"] >= 0
    assert (failed["code"], failed["model_code"]) == (424, "500")
    assert (refused["code"], refused["details"]) == (401, "unknown_api_key")
    text = stage.settings.access_log.read_text()
    assert "secret" not in text
    assert "primary-key" not in text


def test_logging_goes_on_in_a_new_file_after_rotation(stage: Stage) -> None:
    stage.publish_one("rotated-log")
    stage.client.post("/rotated-log/score")
    stage.log_rows("rotated-log", 1)
    stage.settings.access_log.rename(stage.folder / "access.log.1")
    stage.envoy.reopen_logs()
    stage.client.post("/rotated-log/score", headers={"x-request-id": "after"})
    stage.until(stage.settings.access_log.exists)
    assert [row["request_id"] for row in stage.log_rows("rotated-log", 1)] == ["after"]


@pytest.fixture
def web(stage: Stage) -> Iterator[Model]:
    """The portal, at the socket where Envoy looks for it."""
    model = stage.model("web", stage.settings.web_socket)
    yield model
    stage.run(model.kill())


def test_the_studio_is_served_with_and_without_tls(
    stage: Stage, web: Model, trusting: ssl.SSLContext
) -> None:
    plain = httpx.get(f"http://127.0.0.1:{stage.settings.studio_http_port}/a%2Fb//c?d=1")
    assert plain.text == "web"
    with httpx.Client(verify=trusting) as client:
        client.get(f"https://localhost:{stage.settings.studio_tls_port}/healthz")
    assert [seen["line"].split()[1] for seen in web.seen] == ["/a%2Fb//c?d=1", "/healthz"]
    assert [seen["headers"]["x-forwarded-proto"] for seen in web.seen] == ["http", "https"]


def test_callers_cannot_claim_tls_or_another_address_towards_the_studio(
    stage: Stage, web: Model
) -> None:
    claims = {
        "x-forwarded-proto": "https",
        "x-forwarded-for": "10.9.8.7",
        "x-envoy-external-address": "10.9.8.7",
        "x-request-id": "mine",
    }
    httpx.get(f"http://127.0.0.1:{stage.settings.studio_http_port}/", headers=claims)
    [seen] = web.seen
    assert seen["headers"]["x-forwarded-proto"] == "http"
    # The one header that names the caller and that the caller cannot write.
    assert seen["headers"]["x-envoy-external-address"] == "127.0.0.1"
    assert not seen["headers"]["x-forwarded-for"].endswith("10.9.8.7")
    assert seen["headers"]["x-request-id"] != "mine"


def test_uploads_to_the_studio_may_be_larger_than_scoring_requests(
    stage: Stage, web: Model
) -> None:
    body = b"x" * 5_000_000
    url = f"http://127.0.0.1:{stage.settings.studio_http_port}/upload"
    assert httpx.put(url, content=body).status_code == 200
    assert web.seen[0]["body"] == body


def test_the_studio_speaks_websocket(stage: Stage, web: Model) -> None:
    request = (
        b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"x-do: upgrade\r\n\r\n"
    )
    answer = stage.raw(stage.settings.studio_http_port, request)
    assert answer.startswith(b"HTTP/1.1 101 ")


def test_people_read_a_page_and_programs_json_while_the_portal_is_down(stage: Stage) -> None:
    url = f"http://127.0.0.1:{stage.settings.studio_http_port}/"
    page = httpx.get(url, headers={"accept": "text/html,*/*"}, timeout=20)
    assert (page.status_code, page.headers["retry-after"]) == (503, "3")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Deployed models keep answering" in page.text
    answer = httpx.get(f"{url}healthz", timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ServiceUnavailable")


def test_a_model_does_not_speak_for_the_host_that_it_shares_with_the_studio(stage: Stage) -> None:
    stage.publish_one("neighbour")
    said = "set-cookie=sessionid strict-transport-security=max-age clear-site-data=cookies x-own=1"
    answer = stage.client.post("/neighbour/score", headers={"x-do": f"status 200 {said}"})
    assert (answer.status_code, answer.headers["x-own"]) == (200, "1")
    assert not {word.partition("=")[0] for word in said.split()[:-1]} & set(answer.headers)
