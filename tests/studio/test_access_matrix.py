"""Every address of the studio against the owner, a reader, a stranger and nobody: a new address needs a row here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks

from endpoints.keys import keys_of
from portal.studio.urls import urlpatterns
from tests.factories import (
    Cast,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_data,
    make_engines,
    make_environment,
    make_model,
    make_online_endpoint,
)
from tests.studio.conftest import browser_of
from workspaces.models import Datastore, PersonalToken

pytestmark = pytest.mark.thorough

OK, SENT_ON, FORBIDDEN, NOT_FOUND, NOT_ALLOWED, WRONG = 200, 303, 403, 404, 405, 422

# Name of the address → what the owner gets for GET, and what a reader gets for GET and for an empty POST.
MATRIX: dict[str, tuple[int, int, int]] = {
    "overview": (OK, OK, NOT_ALLOWED),
    "load_samples": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "palette": (OK, OK, NOT_ALLOWED),
    "endpoints": (OK, OK, NOT_ALLOWED),
    "delete_endpoints": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "create_endpoint": (OK, FORBIDDEN, FORBIDDEN),
    "create_check": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "endpoint": (OK, OK, NOT_ALLOWED),
    "edit_endpoint": (OK, FORBIDDEN, FORBIDDEN),
    "delete_endpoint": (OK, FORBIDDEN, FORBIDDEN),
    "traffic": (OK, FORBIDDEN, FORBIDDEN),
    "test": (OK, OK, NOT_ALLOWED),
    "test_send": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "consume": (OK, OK, NOT_ALLOWED),
    "show_key": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "regenerate_key": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "endpoint_token": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "monitoring": (OK, OK, NOT_ALLOWED),
    "logs": (OK, FORBIDDEN, FORBIDDEN),
    "download_logs": (OK, FORBIDDEN, FORBIDDEN),
    "endpoint_activity": (OK, OK, NOT_ALLOWED),
    "create_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "deployment": (OK, OK, OK),
    "edit_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "scale_deployment": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "retry_deployment": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "cancel_deployment": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "restore_revision": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "delete_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "download_build_log": (NOT_FOUND, FORBIDDEN, FORBIDDEN),
    "debug_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "stop_debug": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "restart_instance": (OK, FORBIDDEN, FORBIDDEN),
    "drain_instance": (OK, FORBIDDEN, FORBIDDEN),
    "models": (OK, OK, OK),
    "register_model": (OK, FORBIDDEN, FORBIDDEN),
    "model": (OK, OK, OK),
    "archive_model": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "environments": (OK, OK, OK),
    "register_environment": (OK, FORBIDDEN, FORBIDDEN),
    "check_environment": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "environment": (OK, OK, OK),
    "archive_environment": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "build_environment": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "environment_build": (NOT_FOUND, FORBIDDEN, FORBIDDEN),
    "cancel_environment_build": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "download_environment_build": (NOT_FOUND, FORBIDDEN, FORBIDDEN),
    "data": (OK, OK, OK),
    "register_data": (OK, FORBIDDEN, FORBIDDEN),
    "data_asset": (OK, OK, OK),
    "archive_data": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "datastores": (OK, OK, OK),
    "register_datastore": (OK, FORBIDDEN, FORBIDDEN),
    "set_default_datastore": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "delete_datastore": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "components": (OK, OK, OK),
    "component": (OK, OK, OK),
    "archive_component": (SENT_ON, FORBIDDEN, FORBIDDEN),
    "batch_endpoints": (OK, OK, NOT_ALLOWED),
    "create_batch_endpoint": (OK, FORBIDDEN, FORBIDDEN),
    "batch_endpoint": (OK, OK, NOT_ALLOWED),
    "edit_batch_endpoint": (OK, FORBIDDEN, FORBIDDEN),
    "set_default_deployment": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "delete_batch_endpoint": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "create_batch_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "edit_batch_deployment": (OK, FORBIDDEN, FORBIDDEN),
    "delete_batch_deployment": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "compute": (OK, OK, OK),
    "engines": (OK, OK, NOT_ALLOWED),
    "engines_away": (OK, OK, NOT_ALLOWED),
    "remove_images": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "set_quota": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "create_compute": (OK, FORBIDDEN, FORBIDDEN),
    "edit_compute": (OK, FORBIDDEN, FORBIDDEN),
    "delete_compute": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "compute_detail": (OK, OK, NOT_ALLOWED),
    "compute_engines": (OK, OK, NOT_ALLOWED),
    # Administrators of the installation alone, but for a look.
    "attach_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "edit_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "check_engine": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "close_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "open_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "drain_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "remove_engine": (FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "activity": (OK, OK, NOT_ALLOWED),
    "members": (OK, OK, OK),
    "add_member": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "change_member": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "remove_member": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "principals": (OK, OK, OK),
    "add_principal": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "add_secret": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "remove_secret": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "add_federated": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "remove_federated": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    "delete_principal": (NOT_ALLOWED, FORBIDDEN, FORBIDDEN),
    # One's own: a reader may, and an empty form is what is wrong with it.
    "account": (OK, OK, WRONG),
    "create_token": (SENT_ON, SENT_ON, WRONG),
    "revoke_token": (SENT_ON, SENT_ON, NOT_FOUND),
}
NAMES: dict[str, Any] = {
    "endpoint": "churn",
    "deployment": "blue",
    "instance": "1",
    "build": 0,
    "compute": "cpu",
    "engine": "a",
    "resource": "cores",
    "batch": "nightly",
    "key_type": "primary",
    "number": 1,
    "client": "00000000-0000-0000-0000-00000000c11e",
}
ASSETS = {
    "models": "diabetes",
    "environments": "sklearn",
    "data": "iris",
    "datastores": "box",
    "components": "score",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TOKEN = re.compile(r'"[A-Za-z0-9]{64}"')
# Rows that signing in and looking about leave behind.
UNIMPORTANT = {"Session", "LogEntry", "AccessLog", "AccessAttempt"}


@pytest.fixture
def house(cast: Cast) -> Cast:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})
    make_model(cast.workspace)
    make_environment(cast.workspace)
    make_data(cast.workspace)
    make_component(cast.workspace)
    Datastore.objects.create(
        workspace=cast.workspace, name="box", type="azure_blob", container="c", account_name="a"
    )
    make_batch_endpoint(cast.workspace, "nightly", deployments=["blue"])
    make_engines(make_compute(cast.workspace, "edge", kind="kubernetes"), "a")
    PersonalToken.objects.create(user=cast.alice, name="laptop", digest="0" * 64)
    return cast


def address_of(name: str, workspace: str) -> str:
    """The address with names of things that exist."""
    pattern = next(item for item in urlpatterns if item.name == name)
    asset = ASSETS.get(str(pattern.pattern).partition("/")[0], "")
    token = PersonalToken.objects.filter(name="laptop").values_list("pk", flat=True).get()
    known = {**NAMES, "name": asset, "pk": token}
    if "engine" in name or name == "compute_detail":
        known["compute"] = "edge"
    parts = {part: known[part] for part in pattern.pattern.converters}
    return reverse(f"studio:{name}", kwargs={"workspace": workspace, **parts})


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Every row of every table stays as it is, but for when users were last here."""
    before = everything()
    yield
    assert everything() == before


def everything() -> dict[str, list[dict[str, Any]]]:
    tables = {
        model.__name__: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.managed and model.__name__ not in UNIMPORTANT
    }
    for row in tables["User"]:
        row.pop("last_login")
    return tables


def test_every_address_has_its_row() -> None:
    assert {pattern.name for pattern in urlpatterns} == set(MATRIX)


def test_the_owner_gets_every_page_and_looking_changes_nothing(house: Cast) -> None:
    browser = browser_of(house.alice)
    with nothing_changes():
        found = {name: browser.get(address_of(name, house.workspace.name)) for name in MATRIX}
    assert statuses(found) == {name: row[0] for name, row in MATRIX.items()}
    keys = keys_of(house.workspace.online_endpoints.get())
    for page in found.values():
        assert keys.primary not in page.content.decode()
        assert keys.secondary not in page.content.decode()


def test_a_reader_may_look_and_not_write(
    house: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    browser = browser_of(house.bob)
    with nothing_changes(), django_capture_on_commit_callbacks() as rung:
        read = {name: browser.get(address_of(name, house.workspace.name)) for name in MATRIX}
        written = {name: browser.post(address_of(name, house.workspace.name)) for name in MATRIX}
    assert statuses(read) == {name: row[1] for name, row in MATRIX.items()}
    assert statuses(written) == {name: row[2] for name, row in MATRIX.items()}
    assert rung == []


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_learns_nothing(house: Cast, method: str) -> None:
    browser = browser_of(house.charlie)
    with nothing_changes():
        for name in MATRIX:
            there = browser.generic(method, address_of(name, house.workspace.name))
            nowhere = browser.generic(method, address_of(name, "nowhere"))
            assert (there.status_code, nowhere.status_code) == (NOT_FOUND, NOT_FOUND), name
            assert told(there, house.workspace.name) == told(nowhere, "nowhere"), name


@pytest.mark.parametrize("method", METHODS)
def test_nobody_is_sent_to_sign_in(house: Cast, method: str) -> None:
    sign_in = f"{reverse('sign_in')}?next="
    with nothing_changes():
        for name in MATRIX:
            answer = Client().generic(method, address_of(name, house.workspace.name))
            assert answer.status_code == 302, name
            assert answer.headers["Location"].startswith(sign_in), name


def test_a_form_from_elsewhere_is_refused(house: Cast) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(house.alice, backend="django.contrib.auth.backends.ModelBackend")
    with nothing_changes():
        sent = {name: browser.post(address_of(name, house.workspace.name)) for name in MATRIX}
    assert set(statuses(sent).values()) == {FORBIDDEN}


@pytest.mark.parametrize(
    "door", ["home", "theme", "admin:index", "admin:endpoints_onlineendpoint_changelist"]
)
def test_nobody_gets_past_the_other_doors_either(db: None, door: str) -> None:
    for answer in (Client().get(reverse(door)), Client().post(reverse(door))):
        assert answer.status_code == 302
        assert "next=" in answer.headers["Location"]


def test_the_admin_site_is_closed_to_owners_of_workspaces(house: Cast) -> None:
    page = browser_of(house.alice).get(reverse("admin:index"), follow=True)
    assert "Log in" in page.content.decode()


def statuses(answers: Mapping[str, Any]) -> dict[str, int]:
    return {name: answer.status_code for name, answer in answers.items()}


def told(page: Any, workspace: str) -> str:
    """The page without what its visitor wrote into the address, and without the token that is new on every page."""
    text = page.content.decode().replace(workspace, "…")
    return TOKEN.sub("", text)
