"""The REST API of a running portal: from uploads to a score and back to nothing, with bare HTTP."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.house import House

pytestmark = pytest.mark.real

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico"
    "/providers/Microsoft.MachineLearningServices/workspaces/main"
)
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/rest-test"
BLUE = f"{ENDPOINT}/deployments/blue"
SCRIPT = b"""
import json, os, pathlib

def init():
    global weight
    folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
    weight = json.loads((folder / "model" / "weights.json").read_text())["w"]

def run(data):
    print("scoring", data)
    return [weight * number for number in json.loads(data)["data"]]
"""


class Client:
    """Speaks as the administrator, over TLS."""

    def __init__(self, house: House) -> None:
        self.house = house

    def ask(
        self, method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        url = url if url.startswith("https://") else f"{self.house.tls_url}{url}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = self.house.authorization if headers is None else headers
        request = urllib.request.Request(url, data, dict(sent), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.house.tls) as reply:
                text, status, told = reply.read(), reply.status, reply.headers
        except urllib.error.HTTPError as error:
            text, status, told = error.read(), error.code, error.headers
        is_json = told.get_content_type() == "application/json"
        return status, json.loads(text) if text and is_json else text, told

    def settle(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Ask, and poll the operation until it has ended: the status of the answer, and how it ended."""
        status, told, headers = self.ask(method, path, body)
        assert status in (200, 201, 202), told
        url = headers["Azure-AsyncOperation"]
        assert url.startswith(self.house.tls_url)
        found: list[str] = []

        def is_over() -> bool:
            _, answer, _ = self.ask("GET", url)
            found[:] = [answer["status"]]
            return found[0] != "InProgress"

        self.house.wait_for(is_over, 120, f"end {method} {path}")
        return status, found[0]

    def upload(self, path: str, data: bytes) -> None:
        _, store, _ = self.ask("GET", f"{WORKSPACE}/datastores/workspaceblobstore")
        _, secret, _ = self.ask(
            "POST", f"{WORKSPACE}/datastores/workspaceblobstore/listSecrets", {}
        )
        properties = store["properties"]
        root = f"https://{properties['accountName']}.blob.core.windows.net"
        url = f"{root}/{properties['containerName']}/{path}?{secret['sasToken']}"
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "If-None-Match": "*",
            "Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "Content-Type": "application/octet-stream",
        }
        assert self.ask("PUT", url, data, headers)[0] == 201

    def score(self, key: str, **headers: str) -> tuple[int, Any]:
        url = f"{self.house.scoring_url}/rest-test/score"
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
        status, answer, _ = self.ask("POST", url, {"data": [1, 2]}, sent)
        return status, answer


def test_from_uploads_to_a_score_and_back_to_nothing(house: House) -> None:
    client = Client(house)
    client.upload("up/model/weights.json", b'{"w": 3}')
    client.upload("up/code/score.py", SCRIPT)
    uri = "azureml://datastores/workspaceblobstore/paths/up"
    model = {"properties": {"modelUri": f"{uri}/model"}}
    code = {"properties": {"codeUri": f"{uri}/code", "isAnonymous": True}}
    environment = {"properties": {"condaFile": "dependencies: [python=3.11]"}}
    assert client.ask("PUT", f"{WORKSPACE}/models/rest-test/versions/1", model)[0] == 201
    assert client.ask("PUT", f"{WORKSPACE}/codes/rest-test/versions/1", code)[0] == 201
    assert (
        client.ask("PUT", f"{WORKSPACE}/environments/rest-test/versions/1", environment)[0] == 201
    )

    endpoint = {"location": "local", "properties": {"authMode": "Key"}}
    assert client.settle("PUT", ENDPOINT, endpoint) == (201, "Succeeded")
    deployment = {
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "model": "azureml:rest-test:1",
            "environmentId": f"{WORKSPACE}/environments/rest-test/versions/1",
            "codeConfiguration": {
                "codeId": f"{WORKSPACE}/codes/rest-test/versions/1",
                "scoringScript": "score.py",
            },
            "instanceType": "Standard_F2s_v2",
        },
    }
    assert client.settle("PUT", BLUE, deployment) == (201, "Succeeded")
    assert client.settle("PUT", BLUE, deployment) == (200, "Succeeded")
    assert (
        client.settle("PATCH", ENDPOINT, {"properties": {"traffic": {"blue": 100}}})[1]
        == "Succeeded"
    )

    keys = client.ask("POST", f"{ENDPOINT}/listKeys")[1]
    house.wait_for(lambda: client.score(keys["primaryKey"])[0] == 200, 10, "score")
    assert client.score(keys["primaryKey"]) == (200, [3, 6])
    renew = {"keyType": "Primary", "keyValue": keys["primaryKey"]}
    assert client.ask("POST", f"{ENDPOINT}/regenerateKeys", renew)[0] == 200
    house.wait_for(lambda: client.score(keys["primaryKey"])[0] == 401, 10, "refuse the old key")
    assert client.score(client.ask("POST", f"{ENDPOINT}/listKeys")[1]["primaryKey"])[0] == 200

    def logged() -> bool:
        told = client.ask("POST", f"{BLUE}/getLogs", {"tail": 100})[1]
        return "scoring" in str(told["content"])

    house.wait_for(logged, 10, "tell the log")
    assert client.settle("PATCH", BLUE, {"sku": {"capacity": 2}}) == (200, "Succeeded")
    assert client.ask("GET", BLUE)[1]["sku"]["capacity"] == 2
    assert client.ask("DELETE", BLUE)[0] == 409
    assert client.settle("DELETE", ENDPOINT) == (202, "Succeeded")
    assert client.ask("GET", ENDPOINT)[0] == 404
    assert client.ask("DELETE", ENDPOINT)[0] == 204


def test_bodies_without_a_length_are_read_and_strangers_are_refused_over_the_wire(
    house: House,
) -> None:
    parts = urlsplit(house.tls_url)
    path = f"{WORKSPACE}/onlineEndpoints/chunked"
    for headers, expected in (
        (house.authorization, 201),
        ({"Authorization": "Bearer ptc_x"}, 401),
    ):
        connection = http.client.HTTPSConnection(parts.netloc, context=house.tls, timeout=30)
        chunks = iter([b'{"tags": ', b'{"a": "b"}}'])
        connection.request("PUT", path, chunks, dict(headers), encode_chunked=True)
        assert connection.getresponse().status == expected
        connection.close()
    client = Client(house)
    assert client.ask("GET", path)[1]["tags"] == {"a": "b"}
    assert client.settle("DELETE", path)[1] == "Succeeded"
