"""Keys and tokens: nothing of them on a page before somebody asks, and then only for who may."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse

from endpoints import keys
from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_online_endpoint


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})


def url(endpoint: OnlineEndpoint, name: str = "consume", *more: str) -> str:
    return reverse(f"studio:{name}", args=[endpoint.workspace.name, endpoint.name, *more])


TABS = ("endpoint", "test", "consume", "monitoring", "logs", "endpoint_activity")


@pytest.mark.parametrize("tab", TABS)
def test_nothing_of_a_key_is_on_a_page(alice: Client, endpoint: OnlineEndpoint, tab: str) -> None:
    text = alice.get(url(endpoint, tab)).content.decode()
    for key in (keys.keys_of(endpoint).primary, keys.keys_of(endpoint).secondary):
        assert key[:8] not in text
        assert key[-8:] not in text


def test_one_key_is_shown_on_demand_and_that_is_recorded(
    alice: Client, endpoint: OnlineEndpoint, cast: Cast
) -> None:
    page = alice.post(url(endpoint, "show_key", "primary"))
    text = page.content.decode()
    assert keys.keys_of(endpoint).primary in text
    assert keys.keys_of(endpoint).secondary not in text
    assert "no-store" in page.headers["Cache-Control"]
    assert endpoint.workspace.activities.get(verb="list keys").actor == cast.alice


def test_a_copy_button_gets_the_key_alone(alice: Client, endpoint: OnlineEndpoint) -> None:
    reply = alice.post(
        url(endpoint, "show_key", "secondary"), headers={"Accept": "application/json"}
    )
    assert json.loads(reply.content) == {"key": keys.keys_of(endpoint).secondary}
    assert "no-store" in reply.headers["Cache-Control"]


def test_a_key_is_not_shown_to_a_visit(alice: Client, endpoint: OnlineEndpoint) -> None:
    assert alice.get(url(endpoint, "show_key", "primary")).status_code == 405


def test_a_third_key_is_not_there(alice: Client, endpoint: OnlineEndpoint) -> None:
    assert alice.post(url(endpoint, "show_key", "tertiary")).status_code == 404


def test_regenerating_replaces_one_key(alice: Client, endpoint: OnlineEndpoint) -> None:
    before = keys.keys_of(endpoint)
    reply = alice.post(url(endpoint, "regenerate_key"), {"key_type": "primary"})
    assert reply.status_code == 303
    endpoint.refresh_from_db()
    after = keys.keys_of(endpoint)
    assert after.primary != before.primary
    assert after.secondary == before.secondary
    assert after.primary not in alice.get(reply.headers["Location"]).content.decode()


def test_regenerating_names_its_consequence(alice: Client, endpoint: OnlineEndpoint) -> None:
    text = " ".join(alice.get(url(endpoint)).content.decode().split())
    assert "Clients using the primary key will stop working at once" in text


def test_an_endpoint_with_tokens_gives_a_token_with_its_expiry(alice: Client, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, auth_mode="aml_token")
    page = alice.post(url(endpoint, "endpoint_token"))
    text = page.content.decode()
    assert "eyJ" in text
    assert "Expires" in text
    assert "no-store" in page.headers["Cache-Control"]


def test_an_endpoint_with_tokens_has_no_keys(alice: Client, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, auth_mode="aml_token")
    page = alice.post(url(endpoint, "show_key", "primary"))
    assert page.status_code == 400
    assert "does not use keys" in page.content.decode()


def test_directory_tokens_are_explained(alice: Client, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, auth_mode="aad_token")
    assert "https://ml.azure.com" in alice.get(url(endpoint)).content.decode()


def test_the_code_has_the_address_and_a_placeholder(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    samples = alice.get(url(endpoint)).context["samples"]
    assert [sample["label"] for sample in samples] == [
        "cURL",
        "Python",
        "JavaScript",
        "C#",
        "R",
        "Go",
    ]
    for sample in samples:
        assert endpoint.scoring_uri in sample["text"]
        assert "<your key>" in sample["text"]
