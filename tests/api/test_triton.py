"""Triton models without code behind a running portal's gateway, as NVIDIA's own client reaches them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from portal.studio.inference_protocol import client_code
from tests.api.test_end_to_end import WORKSPACE, Client
from tests.house import House
from tests.inference_server.repositories import onnx_linear, onnx_texts

pytestmark = pytest.mark.real

ENDPOINT = f"{WORKSPACE}/onlineEndpoints/triton-test"
BLUE = f"{ENDPOINT}/deployments/blue"
TEXTS_CONFIG = b"""
input [ { name: "words" data_type: TYPE_STRING dims: [ -1 ] },
        { name: "counts" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "total" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } },
         { name: "same" data_type: TYPE_STRING dims: [ -1 ] } ]
"""


def deployed(client: Client) -> str:
    """The primary key of an endpoint with two ONNX models, one of them in three versions."""
    files = {f"linear/{factor}/model.onnx": onnx_linear(factor) for factor in (1, 2, 3)}
    files |= {"texts/1/model.onnx": onnx_texts(), "texts/config.pbtxt": TEXTS_CONFIG}
    files["linear/config.pbtxt"] = b"version_policy: { latest { num_versions: 2 } }"
    for path, data in files.items():
        client.upload(f"triton/models/{path}", data)
    uri = "azureml://datastores/workspaceblobstore/paths/triton/models"
    model = {"properties": {"modelUri": uri, "modelType": "triton_model"}}
    assert client.ask("PUT", f"{WORKSPACE}/models/triton-test/versions/1", model)[0] == 201
    endpoint = {"location": "local", "properties": {"authMode": "Key", "traffic": {}}}
    assert client.settle("PUT", ENDPOINT, endpoint) == (201, "Succeeded")
    deployment = {
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "model": "azureml:triton-test:1",
            "instanceType": "Standard_F2s_v2",
            "requestSettings": {"requestTimeout": "PT30S"},
        },
    }
    assert client.settle("PUT", BLUE, deployment) == (201, "Succeeded")
    traffic = {"properties": {"traffic": {"blue": 100}}}
    assert client.settle("PATCH", ENDPOINT, traffic)[1] == "Succeeded"
    return str(client.ask("POST", f"{ENDPOINT}/listKeys")[1]["primaryKey"])


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def test_onnx_models_without_code_answer_nvidias_client_with_a_key(house: House) -> None:
    client = Client(house)
    key = deployed(client)
    # As Azure's examples do: the scoring address without its last part.
    address = f"{house.plain_scoring_url.removeprefix('http://')}/triton-test"

    def named() -> dict[str, str]:
        # The client keeps what it adds to these, so each call gets its own.
        return {"Authorization": f"Bearer {key}"}

    rows = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    with triton.InferenceServerClient(address, network_timeout=120) as server:
        house.wait_for(lambda: server.is_server_ready(headers=named()), 20, "route to the models")
        assert not server.is_server_live(headers={"Authorization": "Bearer wrong"})
        for binary in (True, False):
            given = [tensor("x", rows, "FP32", binary=binary)]
            asked = [triton.InferRequestedOutput("y", binary_data=binary)]
            newest = server.infer("linear", given, outputs=asked, headers=named())
            older = server.infer("linear", given, "2", outputs=asked, headers=named())
            assert (newest.as_numpy("y") == rows * 3).all()
            assert (older.as_numpy("y") == rows * 2).all()
        found = server.get_model_metadata("linear", headers=named())
        assert (found["versions"], found["platform"]) == (["2", "3"], "onnxruntime_onnx")
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        with pytest.raises(InferenceServerException, match=r"Expected \[-1,2\], got \[3,1\]"):
            server.infer(
                "linear", [tensor("x", rows[:, :1], "FP32", binary=True)], headers=named()
            )

        words = np.array([b"one", "zwölf".encode()], dtype=object)
        counts = np.array([3, 4], dtype=np.int64)
        given = [
            tensor("words", words, "BYTES", binary=True),
            tensor("counts", counts, "INT64", binary=False),
        ]
        answer = server.infer("texts", given, headers=named())
        assert answer.as_numpy("same").tolist() == words.tolist()
        assert answer.as_numpy("total").tolist() == [7]
    sample = client_code(
        f"{house.scoring_url}/triton-test/score", "linear", key=key, ca_path=str(house.ca_path)
    )
    done = subprocess.run(
        [sys.executable, "-c", sample[0]["text"]], capture_output=True, text=True, timeout=60
    )
    assert "y [[0. 0.]]" in done.stdout, done.stderr
    assert client.settle("DELETE", ENDPOINT) == (202, "Succeeded")
