"""Data assets over REST: uploads, which are kept as they are, and addresses, which are only noted."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api
from tests.factories import Cast, make_data, make_workspace
from workspaces import storage, uploads
from workspaces.models import Activity, DataVersion

SHORT = "azureml://datastores/workspaceblobstore/paths/"


def upload(cast: Cast, path: str, text: str = "1,2\n") -> str:
    """Put a file where the SDK would; the address of it."""
    uploads.put_file(cast.workspace, "azureml", path, io.BytesIO(text.encode()))
    return f"{SHORT}{path}"


def put(api: Api, uri: str, version: str = "1", kind: str = "uri_folder", **more: Any) -> Any:
    body = {"properties": {"dataType": kind, "dataUri": uri, "isArchived": False, **more}}
    return api.put(f"data/iris/versions/{version}", body)


def test_an_uploaded_folder_is_kept_as_it_is_at_that_moment(alice: Api, cast: Cast) -> None:
    upload(cast, "LocalUpload/abc/bin/a.csv")
    upload(cast, "LocalUpload/abc/bin/deep/b.csv")
    upload(cast, "LocalUpload/abc/binary/other.csv")
    reply = put(alice, f"{SHORT}LocalUpload/abc/bin/", tags={"a": "b"}, description="d")
    assert reply.status == 201, reply
    told = reply.json["properties"]
    assert (told["dataType"], told["tags"], told["description"]) == (
        "uri_folder",
        {"a": "b"},
        "d",
    )
    version = DataVersion.objects.get()
    assert (version.leaf, version.is_folder, version.file_count) == ("bin", True, 2)
    upload(cast, "LocalUpload/abc/bin/a.csv", "changed\n")
    entry = storage.entries(version.content_hash)[0]
    with storage.open_blob(entry.sha256) as stream:
        assert stream.read() == b"1,2\n"
    # What is told of it leads to the same files, and is what the SDK sends back to archive it.
    assert told["dataUri"].endswith(f"/paths/assets/{version.content_hash}/bin/")
    again = alice.put("data/iris/versions/1", reply.json)
    assert again.status == 200, again
    assert again.json["properties"] == told


def test_a_file_is_no_folder_and_a_folder_no_file(alice: Api, cast: Cast) -> None:
    file = upload(cast, "LocalUpload/abc/a.csv")
    assert put(alice, file, kind="uri_file").status == 201
    reply = put(alice, file, "2")
    assert (reply.status, reply.error["target"]) == (400, "type")
    assert "choose another type" in reply.error["message"]
    upload(cast, "LocalUpload/abc/bin/a.csv")
    assert put(alice, f"{SHORT}LocalUpload/abc/bin", "2", kind="uri_file").status == 400
    assert DataVersion.objects.count() == 1


def test_a_table_needs_its_file_and_keeps_what_that_names(alice: Api, cast: Cast) -> None:
    upload(cast, "LocalUpload/abc/table/rows.csv")
    uri = f"{SHORT}LocalUpload/abc/table"
    reply = put(alice, uri, kind="mltable")
    assert reply.status == 400
    assert "MLTable" in reply.error["message"]
    upload(cast, "LocalUpload/abc/table/MLTable", "paths: [{file: ./rows.csv}]")
    reply = put(alice, uri, kind="mltable", referencedUris=["./rows.csv"])
    assert reply.status == 201, reply
    assert reply.json["properties"]["referencedUris"] == ["./rows.csv"]


@pytest.mark.parametrize(
    "uri",
    [
        f"{SHORT}modelDataCollector/churn/blue/inputs/",
        "https://example.org/iris.csv?x=1",
        "http://example.org/iris.csv",
        "wasbs://box@account.blob.core.windows.net/a",
        "abfss://box@account.dfs.core.windows.net/a",
        "azureml://jobs/wise_fox/outputs/scores/paths/a",
    ],
)
def test_any_other_address_is_noted_and_not_looked_at(alice: Api, uri: str) -> None:
    reply = put(alice, uri)
    assert reply.status == 201, reply
    assert reply.json["properties"]["dataUri"] == uri
    assert put(alice, uri).status == 200
    moved = put(alice, f"{uri}/b")
    # The words that the SDK looks for, and beside them the way out.
    assert (moved.status, moved.error["code"]) == (409, "UserError")
    assert moved.error["message"] == "Asset paths cannot be updated."
    [detail] = moved.error["details"]
    assert "register a new version" in detail["message"]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "iris.csv",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "https://user:secret@example.org/a",
        "https://[broken",
        "https://example.org/a b",
        "azureml://registries/azureml/data/a/versions/1",
        f"{SHORT}LocalUpload/nothing/here",
        f"{SHORT}LocalUpload/../../../etc/passwd",
        "azureml://datastores/nowhere/paths/a",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/other/datastores/workspaceblobstore/paths/a",
    ],
)
def test_what_is_no_address_is_refused(alice: Api, uri: str) -> None:
    reply = put(alice, uri)
    assert reply.status in (400, 404), reply
    assert reply.error["message"]
    assert not DataVersion.objects.exists()


def test_versions_count_up_and_the_container_tells_the_type(alice: Api, cast: Cast) -> None:
    assert alice.get("data/iris").status == 404
    put(alice, "https://example.org/a", kind="uri_file")
    told = alice.get("data/iris").json["properties"]
    assert (told["dataType"], told["latestVersion"], told["nextVersion"]) == ("uri_file", "1", "2")
    listed = alice.get("data").json["value"]
    assert [row["properties"]["dataType"] for row in listed] == ["uri_file"]
    assert alice.patch("data/iris", {"properties": {"isArchived": True}}).status == 200
    assert alice.get("data").json["value"] == []
    assert alice.patch("data/iris", {"properties": {"isArchived": False}}).status == 200
    assert len(alice.get("data/iris/versions").json["value"]) == 1


def test_deleting_takes_a_version_or_all_of_them_and_twice_is_success(
    alice: Api, cast: Cast
) -> None:
    make_data(cast.workspace)
    make_data(cast.workspace, version="2")
    assert alice.delete("data/iris/versions/2").status == 200
    assert alice.delete("data/iris/versions/2").status == 204
    assert alice.get("data/iris/versions/2").status == 404
    assert alice.delete("data/iris").status == 200
    assert alice.delete("data/iris").status == 204
    assert not DataVersion.objects.exists()
    assert Activity.objects.filter(verb="delete").count() == 2


def test_lists_have_a_fixed_number_of_queries(alice: Api, cast: Cast) -> None:
    alice.get()
    counts = set()
    for number in range(3):
        make_data(cast.workspace, f"d{number}")
        make_data(cast.workspace, "d0", version=str(number + 5))
        for path in ("data", "data/d0/versions"):
            with CaptureQueriesContext(connection) as captured:
                assert alice.get(path).status == 200
            counts.add(len(captured))
    assert counts == {4}, "token, workspace, role, rows"


def test_data_of_another_workspace_is_not_found(alice: Api) -> None:
    make_data(make_workspace(), "theirs")
    assert alice.get("data/theirs").status == 404
    assert alice.get("data/theirs/versions").json == {"value": []}
    assert alice.delete("data/theirs/versions/1").status == 204
    assert DataVersion.objects.count() == 1
