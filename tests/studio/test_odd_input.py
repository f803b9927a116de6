"""What people, and programs, may type into any field of the studio: an answer with a sentence, never a failure."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_online_endpoint
from workspaces.models import Environment, Model, PersonalToken

pytestmark = pytest.mark.thorough

ZERO = "a\x00b"
ODD = [
    "\u202eabc",
    "Ωmega",
    "a/b",
    "../x",
    "<script>",
    "1" * 5000,
    "-1",
    "1e999",
    "²",
    "😀",
    "%s",
    ".",
]


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})


def url(cast: Cast, name: str, *names: object) -> str:
    return reverse(f"studio:{name}", args=[cast.workspace.name, *names])


@pytest.mark.parametrize(
    "page", ["endpoints", "models", "environments", "activity", "palette", "compute"]
)
def test_a_zero_character_in_a_search_is_named(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint, page: str
) -> None:
    answer = alice.get(url(cast, page), {"q": ZERO})
    assert answer.status_code == 400
    assert "The field &#x27;q&#x27; holds a zero character" in answer.content.decode()


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (("edit_endpoint", "churn"), {"description": ZERO, "revision": "1"}),
        (("create_token",), {"name": ZERO}),
        (("register_environment",), {"name": "x", "kind": "image", "image": ZERO}),
        (("delete_endpoints",), {"name": ZERO}),
        (("traffic", "churn"), {"traffic-blue": "100", "note": ZERO, "revision": "1"}),
    ],
)
def test_a_zero_character_in_a_form_changes_nothing(
    alice: Client,
    cast: Cast,
    endpoint: OnlineEndpoint,
    page: tuple[str, ...],
    fields: dict[str, str],
) -> None:
    answer = alice.post(url(cast, *page), fields)
    assert answer.status_code == 400
    assert "zero character" in answer.content.decode()
    endpoint.refresh_from_db()
    assert (endpoint.revision, endpoint.description) == (1, "")
    assert not PersonalToken.objects.exists()
    # A part of a page gets the sentence where its script looks for it.
    part = alice.post(url(cast, *page), fields, headers={"HX-Request": "true"})
    assert "zero character" in part.headers["X-Error"]


@pytest.mark.parametrize(
    "place", ["/w/{}", "/w/{}/endpoints", "/w/main/endpoints/{}", "/w/main/models/{}"]
)
@pytest.mark.parametrize("name", [ZERO, *ODD])
def test_an_odd_name_in_an_address_does_not_exist(
    alice: Client, cast: Cast, place: str, name: str
) -> None:
    assert alice.get(place.format(quote(name, safe="")), follow=True).status_code == 404


@pytest.mark.parametrize("name", ODD[1:])
def test_an_odd_revision_or_count_is_no_failure(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint, name: str
) -> None:
    edited = alice.post(
        url(cast, "edit_endpoint", "churn"), {"description": "x", "revision": name}
    )
    assert edited.status_code == 409
    split = {"traffic-blue": name, "traffic-green": "0", "revision": "1"}
    # Without a redirect nothing was changed: the form is shown again.
    assert alice.post(url(cast, "traffic", "churn"), split).status_code in {200, 409, 422}
    alice.post(url(cast, "scale_deployment", "churn", "blue"), {"instance_count": name})
    endpoint.refresh_from_db()
    assert (endpoint.revision, endpoint.traffic) == (1, {"blue": 100})
    assert endpoint.deployments.get(name="blue").instance_count == 1


@pytest.mark.parametrize("sort", ["../x", "a.b", "-", "__class__", "name.upper"])
def test_an_odd_order_is_passed_over(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint, sort: str
) -> None:
    query = {"sort": sort, "page": "-7", "per_page": "-1"}
    assert "churn" in alice.get(url(cast, "endpoints"), query).content.decode()


def test_the_list_is_ordered_by_a_column_that_it_has(alice: Client, cast: Cast) -> None:
    for name in ("aaa", "bbb"):
        make_online_endpoint(cast.workspace, name)
    page = alice.get(url(cast, "endpoints"), {"sort": "-name"}).content.decode()
    assert page.index(">bbb<") < page.index(">aaa<")


def test_texts_that_are_too_long_are_refused_by_name(alice: Client, cast: Cast) -> None:
    token = alice.post(url(cast, "create_token"), {"name": "a" * 101})
    assert token.status_code == 422
    assert "101 characters" in token.content.decode()
    image = {"name": "x", "kind": "image", "image": "a" * 501}
    refused = alice.post(url(cast, "register_environment"), image)
    assert refused.status_code == 422
    assert "image has 501 characters" in refused.content.decode()
    assert not Environment.objects.exists()


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a b", "a/b", "\uff41\uff42\uff43", "\u0430bc", "a\u202eb", "a" * 256, "é", "a\n"],
)
def test_a_model_with_an_odd_name_is_not_registered(
    alice: Client, cast: Cast, settings: Settings, tmp_path: Path, name: str
) -> None:
    settings.STORAGE_ROOT = tmp_path / "storage"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    file = io.BytesIO(b"weights")
    file.name = "model.pkl"
    answer = alice.post(
        url(cast, "register_model"), {"name": f" {name}", "type": "custom_model", "files": file}
    )
    # Blanks around a name are nobody's intention.
    expected = 303 if name == "a\n" else 422
    assert answer.status_code == expected
    assert Model.objects.exists() == (expected == 303)


def test_a_refusal_is_no_failure_in_the_log(
    bob: Client, cast: Cast, endpoint: OnlineEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    assert bob.get(url(cast, "traffic", "churn")).status_code == 403
    assert not any(record.exc_info for record in caplog.records)
