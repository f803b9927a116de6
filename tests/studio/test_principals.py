"""Service principals as the studio and the admin site show them."""

from __future__ import annotations

import json
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import Cast, make_user
from tests.studio.conftest import browser_of
from tests.workspaces.test_federation import ISSUER, KEYS, SUBJECT
from workspaces import principals
from workspaces.models import PrincipalSecret, Role, ServicePrincipal


def url(cast: Cast, rest: str = "") -> str:
    return f"/w/{cast.workspace.name}/access/principals{rest}"


@pytest.fixture
def nightly(cast: Cast) -> ServicePrincipal:
    return principals.create_principal(cast.workspace, "nightly", Role.READER, by=cast.alice)


def test_an_owner_makes_one_and_sees_its_secret_once(alice: Client, cast: Cast) -> None:
    fields = {"name": "ci", "role": "Contributor", "days": "30"}
    page = alice.post(url(cast, "/add"), fields)
    made = ServicePrincipal.objects.get()
    text = page.context["shown"][1]
    assert principals.find_secret(str(made.client_id), text) is not None
    assert "no-store" in page["Cache-Control"]
    shown = page.content.decode()
    assert f"AZURE_CLIENT_ID=&#x27;{made.client_id}&#x27;" in shown
    assert f"AZURE_CLIENT_SECRET=&#x27;{text}&#x27;" in shown
    again = alice.get(url(cast)).content.decode()
    assert text not in again and str(made.client_id) in again
    assert "service principal" in alice.get(f"/w/{cast.workspace.name}/access").content.decode()


def test_what_is_refused_is_told_and_nothing_is_made(
    alice: Client, cast: Cast, nightly: ServicePrincipal
) -> None:
    for name, status in (("nightly", 409), ("a b", 422), ("", 422)):
        answer = alice.post(url(cast, "/add"), {"name": name, "role": "Reader"})
        assert answer.status_code == status, name
    assert ServicePrincipal.objects.count() == 1
    assert not PrincipalSecret.objects.exists()


def test_an_owner_exchanges_secrets(alice: Client, cast: Cast, nightly: ServicePrincipal) -> None:
    old, _ = principals.add_secret(nightly, "old", by=cast.alice)
    page = alice.post(url(cast, f"/{nightly.client_id}/secrets"), {"name": "new", "days": "90"})
    assert page.status_code == 200
    assert set(nightly.secrets.values_list("name", flat=True)) == {"old", "new"}
    place = url(cast, f"/{nightly.client_id}/secrets/{old.pk}/remove")
    assert alice.post(place).status_code == 303
    assert nightly.secrets.get().name == "new"
    assert alice.post(place).status_code == 404


def test_an_owner_believes_an_issuer_and_no_longer(
    alice: Client, cast: Cast, nightly: ServicePrincipal
) -> None:
    fields = {"name": "cluster", "issuer": ISSUER, "subject": SUBJECT, "keys": json.dumps(KEYS)}
    place = url(cast, f"/{nightly.client_id}/federated")
    wrong = alice.post(place, {**fields, "keys": "{"})
    assert wrong.status_code == 422
    assert f'value="{ISSUER}"' in wrong.content.decode()
    assert alice.post(place, {**fields, "issuer": "http://x"}).status_code == 422
    assert not nightly.federated_credentials.exists()
    assert alice.post(place, fields).status_code == 303
    made = nightly.federated_credentials.get()
    assert SUBJECT in alice.get(url(cast)).content.decode()
    assert alice.post(f"{place}/{made.pk}/remove").status_code == 303
    assert alice.post(f"{place}/{made.pk}/remove").status_code == 404
    assert not nightly.federated_credentials.exists()


def test_an_owner_deletes_one(alice: Client, cast: Cast, nightly: ServicePrincipal) -> None:
    assert alice.post(url(cast, f"/{nightly.client_id}/delete")).status_code == 303
    assert not ServicePrincipal.objects.exists()
    assert not cast.workspace.memberships.filter(user=nightly.user).exists()


def test_a_reader_sees_and_changes_nothing(
    bob: Client, cast: Cast, nightly: ServicePrincipal
) -> None:
    page = bob.get(url(cast)).content.decode()
    assert "nightly" in page
    assert "/secrets" not in page and "principals/add" not in page
    place = url(cast, f"/{nightly.client_id}/secrets")
    assert bob.post(place, {"name": "mine"}).status_code == 403
    assert not nightly.secrets.exists()


def test_the_page_of_many_takes_no_more_queries(
    alice: Client, cast: Cast, nightly: ServicePrincipal
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as asked:
            alice.get(url(cast))
        return len(asked)

    count()
    few = count()
    for number in range(5):
        made = principals.create_principal(
            cast.workspace, f"more-{number}", Role.READER, by=cast.alice
        )
        principals.add_secret(made, by=cast.alice)
    assert count() == few


def test_an_operator_makes_one_and_its_secret_in_the_admin_site(cast: Cast) -> None:
    root = make_user("root", is_superuser=True, is_staff=True)
    browser = browser_of(root)
    place = reverse("admin:workspaces_serviceprincipal_add")
    assert "Role" in browser.get(place).content.decode()
    fields = {"workspace": cast.workspace.pk, "name": "ops", "role": Role.READER}
    assert browser.post(place, {**fields, "name": "a b"}).status_code == 200
    assert not ServicePrincipal.objects.exists()
    assert browser.post(place, fields).status_code == 302
    made = ServicePrincipal.objects.get()
    assert cast.workspace.memberships.get(user=made.user).role == Role.READER
    listed = reverse("admin:workspaces_serviceprincipal_changelist")
    assert "ops" in browser.get(listed).content.decode()
    page = browser.post(listed, {"action": "new_secret", "_selected_action": [made.pk]})
    text = re.search(r"ptcs_[\w-]+", page.content.decode())
    assert text and principals.find_secret(str(made.client_id), text[0]) is not None
    secrets = reverse("admin:workspaces_principalsecret_changelist")
    assert text[0] not in browser.get(secrets).content.decode()
    change = reverse("admin:workspaces_serviceprincipal_change", args=[made.pk])
    assert str(made.client_id) in browser.get(change).content.decode()
    delete = {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"}
    browser.post(listed, delete)
    assert not ServicePrincipal.objects.exists()
    assert not cast.workspace.memberships.filter(user=made.user).exists()
