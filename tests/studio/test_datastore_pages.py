"""Datastores in the studio: recorded, made the default, removed; secrets go in and never come out."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.factories import Cast
from tests.studio.test_catalog_pages import page, register, url
from workspaces import datastores
from workspaces.models import Datastore

BOX = {
    "name": "box",
    "type": "azure_blob",
    "account_name": "account",
    "container": "files",
    "credentials": "account_key",
    "secret": "s3cret",
}


def test_a_datastore_is_recorded_and_its_secret_is_never_shown(alice: Client, cast: Cast) -> None:
    answer = register(alice, cast, "datastores", **BOX)
    assert answer["HX-Redirect"] == url(cast, "datastores")
    made = Datastore.objects.get()
    assert datastores.secret_of(made) == "s3cret"
    text = page(alice, cast, "datastores")
    assert "account / files" in text
    assert "s3cret" not in text
    register(alice, cast, "datastores", **{**BOX, "secret": "", "container": "other"})
    made.refresh_from_db()
    assert (made.container, datastores.secret_of(made)) == ("other", "s3cret")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "not-good"}, "not allowed"),
        ({"name": "workspaceblobstore"}, "belongs to the workspace"),
        ({"type": "s3"}, "must be one of"),
        ({"container": ""}, "names no container"),
        ({"account_name": ""}, "names no storage account"),
        ({"secret": ""}, "secret is missing"),
        ({"credentials": "certificate"}, "do not fit"),
        ({"credentials": "nonsense"}, "do not fit"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_kept(
    alice: Client, cast: Cast, changes: dict[str, Any], words: str
) -> None:
    answer = register(alice, cast, "datastores", **{**BOX, **changes})
    assert answer.status_code in (409, 422)
    assert words in answer.content.decode()
    assert "s3cret" not in answer.content.decode()
    assert not Datastore.objects.exists()


def test_the_default_is_moved_and_a_record_removed(alice: Client, cast: Cast) -> None:
    register(alice, cast, "datastores", **BOX)
    alice.post(url(cast, "datastores/box/default"))
    assert datastores.default_name(cast.workspace) == "box"
    assert alice.post(url(cast, "datastores/box/delete")).status_code == 409
    alice.post(url(cast, "datastores/workspaceblobstore/default"))
    assert datastores.default_name(cast.workspace) == "workspaceblobstore"
    alice.post(url(cast, "datastores/box/delete"))
    assert not Datastore.objects.exists()
    assert "Removed the record of box" in page(alice, cast, "datastores")


def test_a_reader_sees_no_buttons(alice: Client, bob: Client, cast: Cast) -> None:
    register(alice, cast, "datastores", **BOX)
    text = page(bob, cast, "datastores")
    assert "account / files" in text
    for word in ("/register", "/default", "/delete"):
        assert f"datastores{word}" not in text and f"box{word}" not in text


def test_the_list_has_a_fixed_number_of_queries(alice: Client, cast: Cast) -> None:
    counts = set()
    for number in range(3):
        register(alice, cast, "datastores", **{**BOX, "name": f"box{number}"})
        alice.get(url(cast, "datastores"))
        with CaptureQueriesContext(connection) as queries:
            alice.get(url(cast, "datastores"))
        counts.add(len(queries))
    assert len(counts) == 1
