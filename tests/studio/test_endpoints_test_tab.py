"""The tab “Test”: what is sent in each mode, what is shown, what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from deployments.samples import REQUEST
from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_online_endpoint
from tests.studio.conftest import Gateway


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})


def url(endpoint: OnlineEndpoint, name: str = "test") -> str:
    return reverse(f"studio:{name}", args=[endpoint.workspace.name, endpoint.name])


def words(response: object) -> str:
    return " ".join(response.content.decode().split())  # type: ignore[attr-defined]


def test_json_is_sent_and_its_answer_shown(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    gateway.headers |= {
        "azureml-model-deployment": "blue",
        "ms-azureml-model-time": "12",
        "x-ms-run-fn-exec-ms": "7.5",
        "x-ms-request-id": "the-id",
    }
    page = alice.post(url(endpoint, "test_send"), {"mode": "json", "json": '{"data": [1]}'})
    assert gateway.asked[-1][3] == b'{"data": [1]}'
    text = words(page)
    for wanted in ("200 OK", "&quot;result&quot;", "the-id", "blue"):
        assert wanted in text
    assert page.context["reply"].model_ms == 12
    assert page.context["reply"].run_ms == 7.5


def test_the_chosen_deployment_is_asked(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    alice.post(url(endpoint, "test_send"), {"mode": "json", "json": "1", "deployment": "green"})
    assert gateway.asked[-1][2]["azureml-model-deployment"] == "green"


def test_raw_text_has_its_own_content_type(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    fields = {"mode": "raw", "raw": "a,b\r\n1,2", "content_type": "text/csv"}
    alice.post(url(endpoint, "test_send"), fields)
    assert gateway.asked[-1][3] == b"a,b\n1,2"
    assert gateway.asked[-1][2]["content-type"] == "text/csv"


def test_a_file_is_sent_as_it_is(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    image = SimpleUploadedFile("cat.png", b"\x89PNG\x00\xff", "image/png")
    alice.post(url(endpoint, "test_send"), {"mode": "file", "file": image, "content_type": ""})
    assert gateway.asked[-1][3] == b"\x89PNG\x00\xff"
    assert gateway.asked[-1][2]["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"mode": "json", "json": "{oops"}, "body"),
        ({"mode": "file"}, "file"),
        ({"mode": "raw", "raw": "x", "content_type": "text/\ncsv"}, "content_type"),
        ({"mode": "json", "json": "1", "deployment": "gone"}, "deployment"),
    ],
)
def test_what_cannot_be_sent_is_said_before_it_is_sent(
    alice: Client,
    endpoint: OnlineEndpoint,
    gateway: Gateway,
    fields: dict[str, str],
    target: str,
) -> None:
    page = alice.post(url(endpoint, "test_send"), fields)
    assert page.status_code == 422
    assert page.context["error"].target == target
    assert [asked for asked in gateway.asked if asked[0] == "POST"] == []


def test_a_file_beyond_the_limit_is_not_read(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway, settings: Settings
) -> None:
    settings.MAX_BODY_BYTES = 1024
    large = SimpleUploadedFile("large.bin", b"x" * 3000)
    page = alice.post(url(endpoint, "test_send"), {"mode": "file", "file": large})
    assert page.status_code == 422


def test_an_error_of_the_model_leads_to_its_log(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    gateway.status = 424
    gateway.headers |= {
        "azureml-model-deployment": "blue",
        "ms-azureml-model-error-statuscode": "500",
        "ms-azureml-model-error-reason": "model_error",
    }
    page = alice.post(url(endpoint, "test_send"), {"mode": "json", "json": "1"})
    assert "The model returned 500." in words(page)
    assert page.context["fix_url"] == f"{url(endpoint, 'logs')}?deployment=blue"


def test_no_traffic_leads_to_the_traffic_dialog(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    gateway.status = 404
    page = alice.post(url(endpoint, "test_send"), {"mode": "json", "json": "1"})
    assert page.context["fix_url"] == url(endpoint, "traffic")


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/json", b"[1, 2]", "json"),
        ("text/plain", b"fine", "text"),
        ("image/png", b"\x89PNG", "image"),
        ("application/octet-stream", b"\xff\xfe\x00", "binary"),
        ("text/html", b"<script>alert(1)</script>", "text"),
    ],
)
def test_each_kind_of_answer_is_shown_in_its_way(
    alice: Client,
    endpoint: OnlineEndpoint,
    gateway: Gateway,
    content_type: str,
    body: bytes,
    kind: str,
) -> None:
    gateway.headers = {"Content-Type": content_type}
    gateway.body = body
    page = alice.post(url(endpoint, "test_send"), {"mode": "json", "json": "1"})
    assert page.context["shown"]["kind"] == kind
    assert b"<script>alert(1)" not in page.content


def test_a_test_of_the_past_can_be_sent_again(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    fields = {"mode": "raw", "raw": "one,two", "content_type": "text/csv", "deployment": "green"}
    alice.post(url(endpoint, "test_send"), fields)
    form = alice.get(url(endpoint), {"again": "0"}).context["form"]
    assert (form.mode, form.text, form.content_type, form.deployment) == (
        "raw",
        "one,two",
        "text/csv",
        "green",
    )


def test_the_form_begins_with_the_last_success(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    alice.post(url(endpoint, "test_send"), {"mode": "json", "json": '{"mine": 1}'})
    assert json.loads(alice.get(url(endpoint)).context["form"].text) == {"mine": 1}


def test_the_sample_begins_with_a_request_that_works(
    alice: Client, cast: Cast, gateway: Gateway
) -> None:
    gateway.body = b'{"swagger": "2.0", "paths": {"/score": {"post": {"parameters": []}}}}'
    sample = make_online_endpoint(cast.workspace, "diabetes", tags={"sample": "true"})
    assert alice.get(url(sample)).context["form"].text == REQUEST


def test_the_command_is_the_same_request(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    fields = {"mode": "json", "json": '{"a": 1}', "deployment": "green"}
    command = alice.post(url(endpoint, "test_send"), fields).context["curl"]
    assert "--data-raw '{\"a\": 1}'" in command
    assert "azureml-model-deployment: green" in command
    assert "<your key>" in command


def test_a_directory_token_is_asked_for_and_sent(
    alice: Client, cast: Cast, gateway: Gateway
) -> None:
    endpoint = make_online_endpoint(cast.workspace, auth_mode="aad_token")
    assert "Directory token" in words(alice.get(url(endpoint)))
    fields = {"mode": "json", "json": "1", "directory_token": "theirs"}
    page = alice.post(url(endpoint, "test_send"), fields)
    assert gateway.asked[-1][2]["authorization"] == "Bearer theirs"
    assert "theirs" not in page.content.decode().replace("Use theirs", "")


def test_a_swap_gets_the_answer_alone(
    alice: Client, endpoint: OnlineEndpoint, gateway: Gateway
) -> None:
    part = alice.post(
        url(endpoint, "test_send"), {"mode": "json", "json": "1"}, headers={"HX-Request": "true"}
    )
    assert 'id="test-result"' in part.content.decode()
    assert "<html" not in part.content.decode()
