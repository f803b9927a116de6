"""Data and components in the studio: registering, finding, looking, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from tests.factories import Cast, make_component, make_data, make_workspace
from tests.studio.test_catalog_pages import HTMX, file, own_store, page, register, url, zipped
from workspaces import storage
from workspaces.models import Data, DataVersion

__all__ = ["own_store"]  # a fixture for every test here


def refused(answer: HttpResponse) -> str:
    assert answer.status_code == 422, answer.content.decode()[:2000]
    assert not DataVersion.objects.exists()
    return answer.content.decode()


def test_an_uploaded_file_becomes_data_whose_type_is_what_it_is(alice: Client, cast: Cast) -> None:
    answer = register(alice, cast, "data", name="iris", source="files", files=[file("a.csv")])
    assert answer["HX-Redirect"] == url(cast, "data/iris")
    files, paths = [file("a"), file("b")], ["rows/a", "rows/deep/b"]
    register(alice, cast, "data", name="iris", source="files", files=files, paths=paths)
    newest, first = DataVersion.objects.all()
    assert (first.type, first.leaf, first.version) == ("uri_file", "a.csv", "1")
    assert (newest.type, newest.leaf, newest.version) == ("uri_folder", "rows", "2")
    text = page(alice, cast, "data/iris")
    assert "deep/b" in text
    assert "azureml:iris:2" in text
    assert "a.csv" in page(alice, cast, "data/iris?version=1")


def test_a_zip_with_a_table_becomes_a_table(alice: Client, cast: Cast) -> None:
    archive = file("t.zip", zipped({"t/MLTable": b"paths: []", "t/rows.csv": b"1"}))
    register(alice, cast, "data", name="iris", source="files", type="mltable", files=[archive])
    assert DataVersion.objects.get().type == "mltable"


def test_an_address_is_noted_and_shown(alice: Client, cast: Cast) -> None:
    fields = {"name": "iris", "source": "address", "address": "https://example.org/iris/"}
    register(alice, cast, "data", **fields)
    made = DataVersion.objects.get()
    assert (made.type, made.uri, made.content_hash) == (
        "uri_folder",
        "https://example.org/iris/",
        "",
    )
    assert "https://example.org/iris/" in page(alice, cast, "data/iris")
    assert "elsewhere" in page(alice, cast, "data")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "not good!"}, "not allowed"),
    ({"name": ""}, "not allowed"),
    ({"source": "files"}, "Choose a file or a folder"),
    ({"source": "address", "address": ""}, "no address of data"),
    ({"source": "address", "address": "file:///etc/passwd"}, "no address of data"),
    ({"source": "address", "address": "https://a:b@example.org/"}, "without a password"),
    ({"source": "address", "address": "https://example.org/a", "type": "csv"}, "not known"),
    ({"source": "files", "files": [("a", b"1")], "type": "mltable"}, "Upload a folder"),
    ({"source": "files", "files": [("m.zip", zipped({"../../evil": b"1"}))]}, "inside the folder"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_kept(
    alice: Client, cast: Cast, fields: dict[str, Any], words: str
) -> None:
    values = {"name": "iris", **fields}
    if "files" in values:
        values["files"] = [file(*given) for given in values["files"]]
    assert words in refused(register(alice, cast, "data", **values))


def test_lists_are_searched_and_archived_assets_put_away(alice: Client, cast: Cast) -> None:
    make_data(cast.workspace, "iris")
    make_component(cast.workspace, "score")
    for kind, name in (("data", "iris"), ("components", "score")):
        part = alice.get(url(cast, f"{kind}?q={name[:2].upper()}"), headers=HTMX).content.decode()
        assert name in part
        assert name not in alice.get(url(cast, f"{kind}?q=zz"), headers=HTMX).content.decode()
        assert alice.post(url(cast, f"{kind}/{name}/archive")).status_code in (302, 303)
        assert f"/{kind}/{name}" not in page(alice, cast, kind)
        assert f"/{kind}/{name}" in page(alice, cast, f"{kind}?archived=1")
        assert "Restore" in page(alice, cast, f"{kind}/{name}")
        alice.post(url(cast, f"{kind}/{name}/archive"), {"restore": "1"})
        assert f"/{kind}/{name}" in page(alice, cast, kind)


def test_a_component_shows_what_goes_in_and_out_and_its_yaml(alice: Client, cast: Cast) -> None:
    specification = {
        "type": "command",
        "command": "echo ${{inputs.items}}",
        "inputs": {"items": {"type": "string", "default": "<b>", "description": "words"}},
        "outputs": {"scores": {"type": "uri_folder"}},
    }
    make_component(cast.workspace, specification=specification, display_name="Score <all>")
    text = page(alice, cast, "components/score")
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert "Score &lt;all&gt;" in text
    assert "name: score" in text
    assert "scores" in text


def test_lists_have_a_fixed_number_of_queries(alice: Client, cast: Cast) -> None:
    counts: dict[str, set[int]] = {"data": set(), "components": set()}
    for number in range(3):
        make_data(cast.workspace, f"d{number}")
        make_component(cast.workspace, f"c{number}")
        for kind, found in counts.items():
            alice.get(url(cast, kind))
            with CaptureQueriesContext(connection) as queries:
                alice.get(url(cast, kind))
            found.add(len(queries))
    assert {len(found) for found in counts.values()} == {1}


def test_what_another_workspace_has_is_not_found(alice: Client, cast: Cast) -> None:
    other = make_workspace()
    make_data(other, "theirs")
    make_component(other, "theirs")
    for kind in ("data", "components"):
        page(alice, cast, f"{kind}/theirs", 404)
        assert alice.post(url(cast, f"{kind}/theirs/archive")).status_code == 404
    assert Data.objects.get().archived_at is None


def test_lost_files_are_said_to_be_lost(alice: Client, cast: Cast, settings: Settings) -> None:
    make_data(cast.workspace, uri="", content_hash="1" * 64, leaf="a")
    assert "not in the store any more" in page(alice, cast, "data/iris")
    with pytest.raises(Exception, match="missing"):
        storage.entries("1" * 64)
