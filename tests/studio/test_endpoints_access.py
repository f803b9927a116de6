"""Who may see and do what on every endpoint page: alice owns, bob reads, charlie is a stranger."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_online_endpoint

pytestmark = pytest.mark.thorough

READ = ("endpoint", "test", "consume", "monitoring", "endpoint_activity")
# The forms, which are for those who may change something, and the logs, as in Azure.
WRITE = ("edit_endpoint", "delete_endpoint", "traffic", "logs", "download_logs")
POSTS = (
    "edit_endpoint",
    "delete_endpoint",
    "traffic",
    "test_send",
    "regenerate_key",
    "endpoint_token",
)
OF_WORKSPACE = ("overview", "endpoints", "activity", "palette")


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})


def address(endpoint: OnlineEndpoint, name: str) -> str:
    return reverse(f"studio:{name}", args=[endpoint.workspace.name, endpoint.name])


@pytest.mark.parametrize("name", READ + WRITE)
def test_the_owner_sees_every_page(alice: Client, endpoint: OnlineEndpoint, name: str) -> None:
    assert alice.get(address(endpoint, name)).status_code == 200


@pytest.mark.parametrize("name", READ)
def test_the_reader_sees_what_is_to_be_read(
    bob: Client, endpoint: OnlineEndpoint, name: str
) -> None:
    page = bob.get(address(endpoint, name))
    assert page.status_code == 200
    text = page.content.decode()
    for way in (
        "/traffic",
        "/edit",
        "/delete",
        "/scale",
        "/deployments/create",
        "/keys/",
        "/test/send",
    ):
        assert f'{way}"' not in text


@pytest.mark.parametrize("name", WRITE)
def test_the_reader_gets_no_form(bob: Client, endpoint: OnlineEndpoint, name: str) -> None:
    page = bob.get(address(endpoint, name))
    assert page.status_code == 403
    assert "Ask alice for a role that does" in page.content.decode()


@pytest.mark.parametrize("name", POSTS)
def test_the_reader_cannot_change_anything(
    bob: Client, endpoint: OnlineEndpoint, name: str
) -> None:
    assert bob.post(address(endpoint, name)).status_code == 403
    assert OnlineEndpoint.objects.values().get(
        pk=endpoint.pk
    ) == OnlineEndpoint.objects.values().get(name="churn", state="Succeeded", revision=1)


def test_the_reader_cannot_see_a_key(bob: Client, endpoint: OnlineEndpoint) -> None:
    url = reverse("studio:show_key", args=[endpoint.workspace.name, endpoint.name, "primary"])
    assert bob.post(url).status_code == 403


@pytest.mark.parametrize("name", ("delete_endpoints", "load_samples"))
def test_the_reader_cannot_change_the_workspace(bob: Client, cast: Cast, name: str) -> None:
    url = reverse(f"studio:{name}", args=[cast.workspace.name])
    assert bob.post(url, {"name": "churn", "confirm": "yes"}).status_code == 403


@pytest.mark.parametrize("name", READ + WRITE + POSTS)
def test_for_a_stranger_there_is_nothing(
    charlie: Client, endpoint: OnlineEndpoint, name: str
) -> None:
    assert charlie.get(address(endpoint, name)).status_code == 404
    assert charlie.post(address(endpoint, name)).status_code == 404


@pytest.mark.parametrize("name", OF_WORKSPACE)
def test_a_strangers_workspace_is_not_there(charlie: Client, cast: Cast, name: str) -> None:
    url = reverse(f"studio:{name}", args=[cast.workspace.name])
    assert charlie.get(url).status_code == 404


@pytest.mark.parametrize("name", OF_WORKSPACE)
def test_the_reader_sees_the_workspace(bob: Client, cast: Cast, name: str) -> None:
    assert bob.get(reverse(f"studio:{name}", args=[cast.workspace.name])).status_code == 200


def test_who_is_not_signed_in_is_asked_to(endpoint: OnlineEndpoint, client: Client) -> None:
    page = client.get(address(endpoint, "endpoint"))
    assert page.status_code == 302
    assert page.headers["Location"].startswith("/sign-in")


def test_a_refused_swap_says_why_in_a_header(bob: Client, endpoint: OnlineEndpoint) -> None:
    reply = bob.get(address(endpoint, "traffic"), headers={"HX-Request": "true"})
    assert reply.status_code == 403
    assert "onlineEndpoints/write" in reply.headers["X-Error"]


def test_the_endpoint_of_another_workspace_is_not_here(alice: Client, cast: Cast) -> None:
    elsewhere = make_online_endpoint(name="elsewhere", deployments={"blue": 100})
    url = reverse("studio:endpoint", args=[cast.workspace.name, elsewhere.name])
    assert alice.get(url).status_code == 404


@pytest.mark.parametrize("name", READ + WRITE[:3])
def test_no_page_has_inline_scripts_or_styles(
    alice: Client, endpoint: OnlineEndpoint, name: str
) -> None:
    text = alice.get(address(endpoint, name)).content.decode()
    assert " style=" not in text
    assert " onclick=" not in text
    assert "<script>" not in text
