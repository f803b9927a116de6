"""Uploads and downloads as the SDK makes them: signed, whole, in blocks, by range, listed."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import unescape

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from api import datastores
from api.blobs import Blobs
from tests.api.conftest import Api, speak_as, store_assets
from tests.factories import Cast, add_member, make_user, make_workspace
from workspaces import leftovers
from workspaces.models import (
    CodeVersion,
    EnvironmentVersion,
    Membership,
    ModelVersion,
    Role,
    UploadedFile,
    UploadedPiece,
    User,
)

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}


class Store:
    """The container `azureml` of a workspace, opened by what `listSecrets` gave."""

    def __init__(self, api: Api) -> None:
        told = api.get("datastores/workspaceblobstore").json["properties"]
        self.root = f"https://{told['accountName']}.blob.core.windows.net/{told['containerName']}"
        reply = api.post(
            "datastores/workspaceblobstore/listSecrets",
            {"expirableSecret": True, "expireAfterHours": 1},
        )
        assert reply.json["secretsType"] == "Sas"
        self.signature = reply.json["sasToken"]

    def ask(
        self, method: str, path: str = "", data: bytes = b"", *, query: str = "", **headers: str
    ) -> HttpResponse:
        url = urlsplit(f"{self.root}/{path}".rstrip("/")).path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = Client().generic(
            method, f"{url}?{query}&{self.signature}", data, headers={**BLOCK_BLOB, **named}
        )
        assert isinstance(reply, HttpResponse)
        return reply

    def put(self, path: str, data: bytes = b"data", **headers: str) -> HttpResponse:
        return self.ask("PUT", path, data, **headers)


@pytest.fixture
def store(alice: Api) -> Store:
    return Store(alice)


def code_of(reply: HttpResponse) -> str:
    """The error's code, which stands in the header and in the XML."""
    found = re.search(r"<Code>(\w+)</Code>", reply.content.decode())
    assert found is not None
    assert found[1] == reply["x-ms-error-code"]
    return found[1]


def test_an_upload_goes_as_the_sdk_does_it(alice: Api, store: Store) -> None:
    path = "LocalUpload/abc/model/model.json"
    missing = store.ask("HEAD", path)
    assert (missing.status_code, missing["x-ms-error-code"]) == (404, "BlobNotFound")
    md5 = base64.b64encode(hashlib.md5(b'{"w": 2}').digest()).decode()
    headers = {"If_None_Match": "*", "Content_MD5": md5, "x_ms_version": "2026-10-06"}
    reply = store.put(path, b'{"w": 2}', **headers)
    assert reply.status_code == 201
    assert reply["ETag"]
    assert reply["Last-Modified"]
    assert reply["x-ms-version"] == "2026-10-06"
    again = store.put(path, b"other", If_None_Match="*")
    assert (again.status_code, code_of(again)) == (409, "BlobAlreadyExists")
    store.put("LocalUpload/abc/model/sub/b", b"")
    named = {"x_ms_meta_name": "demo", "x_ms_meta_version": "1"}
    assert store.ask("PUT", path, b"", query="comp=metadata", **named).status_code == 200
    found = store.ask("HEAD", path)
    assert found.status_code == 200
    assert found["Content-Length"] == "8"
    assert found["x-ms-meta-name"] == "demo"
    assert found["x-ms-meta-version"] == "1"
    assert found["x-ms-blob-type"] == "BlockBlob"
    short = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/model"
    body = {"properties": {"modelUri": short, "modelType": "custom_model", "isAnonymous": False}}
    made = alice.put("models/demo/versions/1", body)
    assert made.status == 201, made
    assert made.json["properties"]["flavors"] == {}
    version = ModelVersion.objects.get()
    assert (version.leaf, version.is_folder, version.file_count) == ("model", True, 2)
    assert alice.put("models/demo/versions/1", body).status == 200
    long = short.replace("azureml:/", f"azureml:/{alice.workspace.arm_id.lower()}").replace(
        "/providers/microsoft.machinelearningservices", ""
    )
    assert alice.put("models/demo/versions/2", {"properties": {"modelUri": long}}).status == 201


def test_the_mark_of_a_finished_upload_is_kept_although_its_name_has_an_underscore(
    store: Store,
) -> None:
    """The server speaks ASGI, where Django leaves such headers out."""
    store.put("x")
    scope = {
        "type": "http",
        "method": "PUT",
        "path": urlsplit(f"{store.root}/x").path,
        "query_string": f"comp=metadata&{store.signature}".encode(),
        "headers": [(b"x-ms-meta-upload_status", b"completed")],
    }
    request = ASGIRequest(scope, io.BytesIO())
    account = store.root.split("/storage/")[1].split(".blob.")[0]
    Blobs.as_view()(request, account=account, container="azureml", path="x")
    assert store.ask("HEAD", "x")["x-ms-meta-upload_status"] == "completed"


def test_what_is_registered_is_downloaded_from_where_its_address_says(
    alice: Api, store: Store
) -> None:
    for name in ("model/a.txt", "model/sub/b.txt", "model2/c.txt"):
        store.put(f"up/{name}", name.encode())
    uri = "azureml://datastores/workspaceblobstore/paths/up/model"
    told = alice.put("models/demo/versions/1", {"properties": {"modelUri": uri}}).json
    prefix = told["properties"]["modelUri"].split("/paths/")[1]
    assert store.ask("HEAD", f"{prefix}/").status_code == 404
    query = f"restype=container&comp=list&prefix={prefix}&include=metadata"
    names = re.findall("<Name>([^<]+)", store.ask("GET", query=query).content.decode())
    assert names == [f"{prefix}/a.txt", f"{prefix}/sub/b.txt"]
    assert store.ask("GET", names[1]).content == b"model/sub/b.txt"
    refused = store.put(f"{prefix}/a.txt", b"changed")
    assert refused.status_code == 409
    told["properties"]["isArchived"] = True
    assert alice.put("models/demo/versions/1", told).json["properties"]["isArchived"] is True


def test_another_workspace_cannot_read_an_asset_by_its_hash(alice: Api, cast: Cast) -> None:
    content_hash = store_assets(cast.workspace).code.content_hash
    path = f"assets/{content_hash}/code/score.py"
    assert Store(alice).ask("GET", path).status_code == 200
    mallory = speak_as(cast.charlie, make_workspace(owner=cast.charlie))
    assert Store(mallory).ask("GET", path).status_code == 404
    uri = f"azureml://datastores/workspaceblobstore/paths/assets/{content_hash}/code"
    reply = mallory.put("models/stolen/versions/1", {"properties": {"modelUri": uri}})
    assert (reply.status, reply.error["target"]) == (400, "properties.modelUri")


def test_a_large_file_comes_in_blocks_in_any_order(store: Store) -> None:
    parts = {"b2": b"second", "b1": b"first ", "b3": b"unused"}
    for name, data in parts.items():
        block = base64.b64encode(name.encode()).decode()
        reply = store.ask("PUT", "big", data, query=f"comp=block&blockid={block}")
        assert reply.status_code == 201
    ids = [base64.b64encode(name.encode()).decode() for name in ("b1", "b2")]
    listed = "".join(f"<Latest>{block}</Latest>" for block in ids)
    xml = f'<?xml version="1.0"?><BlockList>{listed}</BlockList>'.encode()
    reply = store.ask("PUT", "big", xml, query="comp=blocklist", If_None_Match="*")
    assert reply.status_code == 201
    assert store.ask("GET", "big").content == b"first second"
    assert not UploadedPiece.objects.exists()
    other = xml.replace(b"</BlockList>", b"<Latest>YjM=</Latest></BlockList>")
    again = store.ask("PUT", "big", other, query="comp=blocklist")
    assert (again.status_code, code_of(again)) == (400, "InvalidBlockList")


def test_a_block_sent_twice_counts_once_and_given_up_ones_go(
    store: Store, settings: Settings
) -> None:
    for data in (b"one", b"two"):
        store.ask("PUT", "x", data, query="comp=block&blockid=AAAA")
    assert UploadedPiece.objects.count() == 1
    pieces = settings.STORAGE_ROOT / "pieces"
    assert len(list(pieces.iterdir())) == 1
    UploadedPiece.objects.update(uploaded_at=timezone.now() - timedelta(days=2))
    store.ask("PUT", "y", b"new", query="comp=block&blockid=AAAA")
    leftovers.sweep()
    assert [piece.path for piece in UploadedPiece.objects.all()] == ["y"]
    assert len(list(pieces.iterdir())) == 1


@pytest.mark.parametrize(
    ("wanted", "status", "data", "told"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-33554431", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-20", 416, None, "bytes */10"),
        ("bytes=x", 200, b"0123456789", None),
        ("", 200, b"0123456789", None),
    ],
)
def test_ranges(store: Store, wanted: str, status: int, data: bytes, told: str | None) -> None:
    store.put("digits", b"0123456789")
    reply = store.ask("GET", "digits", x_ms_range=wanted)
    assert reply.status_code == status
    assert reply.headers.get("Content-Range") == told
    if data is not None:
        assert reply.content == data
    store.put("empty", b"")
    empty = store.ask("GET", "empty", x_ms_range="bytes=0-33554431")
    assert (empty.status_code, code_of(empty)) == (416, "InvalidRange")
    assert store.ask("GET", "empty").status_code == 200


def test_a_list_collapses_folders_and_goes_on_where_it_ended(store: Store) -> None:
    for name in ("p/a", "p/d/1", "p/d/2", "p/e&<", "p/f/1", "q"):
        store.put(name.replace("&", "%26").replace("<", "%3C"))
    query = "restype=container&comp=list&prefix=p/&delimiter=/"
    text = store.ask("GET", query=query).content.decode()
    assert re.findall("<BlobPrefix><Name>([^<]+)", text) == ["p/d/", "p/f/"]
    assert re.findall("<Blob><Name>([^<]+)", text) == ["p/a", "p/e&amp;&lt;"]
    names: list[str] = []
    marker: Any = ""
    while True:
        page = f"restype=container&comp=list&prefix=p/&maxresults=2&marker={marker}"
        text = store.ask("GET", query=page).content.decode()
        names += re.findall("<Blob><Name>([^<]+)", text)
        found = re.search("<NextMarker>([^<]+)", text)
        if found is None:
            break
        marker = quote(unescape(found[1]))
    assert names == ["p/a", "p/d/1", "p/d/2", "p/e&amp;&lt;", "p/f/1"]


@pytest.mark.parametrize("path", ["../up", "a/../../b", "a/%00b", "%2e%2e/x", "x" * 1100, "a%0Ab"])
def test_a_path_that_leaves_its_place_is_refused(store: Store, path: str) -> None:
    assert store.put(path).status_code in (400, 404)
    assert not UploadedFile.objects.exists()


def test_a_damaged_or_too_large_body_is_not_kept(store: Store, settings: Settings) -> None:
    wrong = store.put("x", b"data", Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert (wrong.status_code, code_of(wrong)) == (400, "Md5Mismatch")
    settings.MAX_UPLOAD_BYTES = 5
    large = store.put("x", b"123456")
    assert (large.status_code, code_of(large)) == (413, "RequestBodyTooLarge")
    for block in ("AAAA", "BBBB"):
        store.ask("PUT", "x", b"1234", query=f"comp=block&blockid={block}")
    xml = b"<BlockList><Latest>AAAA</Latest><Latest>BBBB</Latest></BlockList>"
    joined = store.ask("PUT", "x", xml, query="comp=blocklist")
    assert joined.status_code == 413
    assert not UploadedFile.objects.exists()
    assert not list((settings.STORAGE_ROOT / "drafts").iterdir())


def test_a_signature_is_good_for_its_container_its_user_and_its_time(
    alice: Api, store: Store, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("x")
    good = dict(parse_qsl(store.signature))
    for name, value in (
        ("sig", "wrong"),
        ("sig", "\u00e9"),
        ("si", str(cast.charlie.pk)),
        ("se", "2099-01-01T00:00:00Z"),
        ("sp", "racwdl"),
    ):
        store.signature = "&".join(f"{k}={v}" for k, v in {**good, name: value}.items())
        assert store.ask("GET", "x").status_code == 403, name
    store.signature = "&".join(f"{k}={v}" for k, v in good.items())
    assert store.ask("GET", "x").status_code == 200
    store.root = store.root.replace("/azureml", "/other")
    assert store.ask("GET", "x").status_code == 403
    store = Store(alice)
    monkeypatch.setattr(datastores, "SIGNED_SECONDS", -1)
    expired = Store(alice)
    assert expired.ask("GET", "x").status_code == 403
    Membership.objects.filter(user=cast.alice).update(role=Role.READER)
    assert store.ask("GET", "x").status_code == 200
    assert store.put("x").status_code == 403
    Membership.objects.filter(user=cast.alice).delete()
    assert store.ask("GET", "x").status_code == 403
    add_member(cast.workspace, cast.alice, Role.OWNER)
    User.objects.filter(pk=cast.alice.pk).update(is_active=False)
    assert store.ask("GET", "x").status_code == 403


def test_a_token_opens_files_as_far_as_its_users_role_goes(
    alice: Api, bob: Api, charlie: Api, cast: Cast, store: Store
) -> None:
    store.put("x")
    url = urlsplit(f"{store.root}/x").path
    for api, may_read, may_write in ((alice, 200, 201), (bob, 200, 403), (charlie, 403, 403)):
        headers = {"Authorization": f"Bearer {api.token}"}
        assert Client().get(url, headers=headers).status_code == may_read
        assert Client().put(url, b"new", headers=headers).status_code == may_write
    assert Client().get(url).status_code == 403
    nowhere = url.replace(cast.workspace.name, "nowhere")
    reply = Client().get(nowhere, headers={"Authorization": f"Bearer {charlie.token}"})
    assert reply.status_code == 403


def test_an_uploaded_page_cannot_run_in_a_browser(store: Store) -> None:
    store.put("page.html", b"<script>alert(1)</script>", Content_Type="text/html")
    reply = store.ask("GET", "page.html")
    assert reply["Content-Type"] == "application/octet-stream"
    assert reply["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("PUT", "comp=lease"),
        ("PUT", "comp=page"),
        ("GET", "comp=metadata"),
        ("DELETE", "comp=lease"),
        ("POST", ""),
    ],
)
def test_other_operations_are_refused(store: Store, method: str, query: str) -> None:
    store.put("x")
    assert store.ask(method, "x", query=query).status_code == 405
    assert store.ask("PUT", "y", b"", x_ms_blob_type="PageBlob").status_code == 400


def test_code_goes_into_a_container_of_its_own_and_is_found_by_its_hash(
    alice: Api, store: Store
) -> None:
    reply = alice.post(
        "codes/guid-1/versions/1/startPendingUpload",
        {"pendingUploadType": "TemporaryBlobReference"},
    )
    reference = reply.json["blobReferenceForConsumption"]
    assert reply.json["pendingUploadType"] == "TemporaryBlobReference"
    assert reference["credential"]["credentialType"] == "SAS"
    parts = urlsplit(reference["credential"]["sasUri"])
    for name in ("score.py", "sub/helper.py"):
        url = f"{parts.path}/code/{name}?{parts.query}"
        assert Client().put(url, b"x = 1", headers=BLOCK_BLOB).status_code == 201
    digest = "ab" * 32
    body = {
        "properties": {
            "codeUri": f"{reference['blobUri']}/code",
            "isAnonymous": True,
            "properties": {"hash_sha256": digest, "hash_version": 202208},
        }
    }
    assert alice.put("codes/guid-1/versions/1", body).status == 201
    assert CodeVersion.objects.get().leaf == "code"
    query = f"hash={digest}&hashVersion=202208"
    (found,) = alice.get(f"codes/guid-2/versions?{query}").json["value"]
    assert found["id"] == f"{alice.workspace.arm_id}/codes/guid-1/versions/1"
    assert found["properties"]["properties"]["hash_sha256"] == digest
    assert alice.get("codes/guid-2/versions?hash=none&hashVersion=202208").json["value"] == []
    assert alice.get("codes/guid-2/versions?hash=%00&hashVersion=%00").json["value"] == []
    assert alice.get("codes").json["value"] == []
    other = Store(alice)
    other.root = reference["blobUri"]
    assert other.ask("GET", "code/score.py").status_code == 403


def test_a_build_context_is_registered_from_the_address_the_sdk_makes(
    alice: Api, store: Store
) -> None:
    store.put("LocalUpload/h/ctx/Dockerfile", b"FROM scratch")
    # The SDK drops the last segment of the account's address (wire 7.2).
    uri = "https://localhost:8443/storage/azureml/LocalUpload/h/ctx/"
    reply = alice.put(
        "environments/own/versions/1", {"properties": {"build": {"contextUri": uri}}}
    )
    assert reply.status == 201, reply
    told = reply.json["properties"]["build"]
    assert told["dockerfilePath"] == "Dockerfile"
    assert EnvironmentVersion.objects.get().build_context_hash in told["contextUri"]
    read = alice.get("environments/own/versions/1").json
    assert alice.put("environments/own/versions/1", read).status == 200
    both = {"properties": {"image": "x", "build": {"contextUri": uri}}}
    assert alice.put("environments/own/versions/2", both).status == 400


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://elsewhere.example/model",
        "https://localhost:8443/storage/other.blob.core.windows.net/azureml/up/model",
        "azureml://datastores/other/paths/up/model",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/other/datastores/workspaceblobstore/paths/up/model",
        "azureml://datastores/workspaceblobstore/paths/nothing/here",
        "azureml://datastores/workspaceblobstore/paths/up/mod",
        "azureml://datastores/workspaceblobstore/paths/../../etc",
        "file:///etc/passwd",
        "/etc/passwd",
        "http://[::1",
    ],
)
def test_an_address_that_leads_elsewhere_is_refused(alice: Api, store: Store, uri: str) -> None:
    store.put("up/model/a")
    reply = alice.put("models/demo/versions/1", {"properties": {"modelUri": uri}})
    assert reply.status in (400, 404), reply
    assert not ModelVersion.objects.exists()


def test_a_file_that_is_also_a_folder_is_refused(alice: Api, store: Store) -> None:
    store.put("up/model/a", b"1")
    store.put("up/model/a/b", b"2")
    uri = "azureml://datastores/workspaceblobstore/paths/up/model"
    reply = alice.put("models/demo/versions/1", {"properties": {"modelUri": uri}})
    assert reply.status == 400
    assert "both a file and a folder" in reply.error["message"]


def test_a_data_scientist_may_upload(cast: Cast) -> None:
    dora = make_user("dora")
    add_member(cast.workspace, dora, Role.DATA_SCIENTIST)
    assert Store(speak_as(dora, cast.workspace)).put("x").status_code == 201


def test_the_same_list_of_blocks_again_is_success_and_another_one_is_not(store: Store) -> None:
    """A client that heard nothing of a long joining asks once more, when the blocks are gone."""
    for number, data in ((1, b"one"), (2, b"two")):
        block = base64.b64encode(str(number).encode()).decode()
        assert store.put("x", data) and store.ask(
            "PUT", "x", data, query=f"comp=block&blockid={quote(block)}"
        )
    listed = b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>"
    for _ in range(2):
        assert store.ask("PUT", "x", listed, query="comp=blocklist").status_code == 201
    assert store.ask("GET", "x").content == b"onetwo"
    other = b"<BlockList><Latest>Mg==</Latest></BlockList>"
    assert store.ask("PUT", "x", other, query="comp=blocklist").status_code == 400
    store.put("x", b"whole")
    assert store.ask("PUT", "x", listed, query="comp=blocklist").status_code == 400
    assert store.ask("GET", "x").content == b"whole"


def test_a_file_is_deleted_but_not_that_of_an_asset(alice: Api, store: Store) -> None:
    store.put("LocalUpload/abc/a.txt", b"a")
    uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/a.txt"
    assert alice.put("models/m/versions/1", {"properties": {"modelUri": uri}}).status == 201
    assert store.ask("DELETE", "LocalUpload/abc/a.txt").status_code == 202
    assert store.ask("DELETE", "LocalUpload/abc/a.txt").status_code == 404
    told = alice.get("models/m/versions/1").json["properties"]["modelUri"]
    path = told.split("/paths/")[1]
    assert store.ask("DELETE", path).status_code == 409
    assert store.ask("GET", path).content == b"a"


def test_a_reader_may_not_delete(cast: Cast, store: Store, bob: Api) -> None:
    store.put("x", b"1")
    headers = {"Authorization": f"Bearer {bob.token}"}
    url = urlsplit(f"{store.root}/x").path
    assert Client().get(url, headers=headers).status_code == 200
    assert Client().delete(url, headers=headers).status_code == 403
    assert store.ask("GET", "x").content == b"1"


@pytest.mark.parametrize("path", ["a%2Fb", "a%2f..%2f..%2fb", "a%5Cb", "%2Fetc%2Fpasswd"])
def test_slashes_that_hide_in_a_name_are_refused(store: Store, path: str) -> None:
    """Only the address as it was sent tells them from others."""
    root = urlsplit(store.root).path
    scope = {
        "type": "http",
        "method": "PUT",
        "path": f"{root}/{unquote(path)}",
        "raw_path": f"{root}/{path}".encode(),
        "query_string": store.signature.encode(),
        "headers": [(b"x-ms-blob-type", b"BlockBlob")],
    }
    account = store.root.split("/storage/")[1].split(".blob.")[0]
    request = ASGIRequest(scope, io.BytesIO(b"data"))
    reply = Blobs.as_view()(request, account=account, container="azureml", path=unquote(path))
    assert (reply.status_code, reply["x-ms-error-code"]) == (400, "InvalidUri")
    assert not UploadedFile.objects.exists()


@pytest.mark.parametrize("path", ["w.blob.x/a%2Cb/file", "w.blob.x/azureml/a%01b", "w", ""])
def test_impossible_addresses_are_answered_in_the_words_of_the_blob_service(
    client: Client, path: str
) -> None:
    for method in ("get", "put", "delete"):
        reply = getattr(client, method)(f"/storage/{path}")
        assert reply.status_code == 400
        assert reply["Content-Type"] == "application/xml"
        assert reply["x-ms-error-code"] == "InvalidUri"
