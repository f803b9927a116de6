"""The Open Inference Protocol over a model repository, as NVIDIA's own client speaks it."""

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from inference_server.pool import SHIMS
from inference_server.start_failure import CannotStart
from inference_server.v2_models import Repository
from tests.inference_server.repositories import (
    ADD,
    ADD_CONFIG,
    ASK,
    ASK_CONFIG,
    ENSEMBLE_CONFIG,
    TYPES,
    python_models,
    write,
)
from tests.inference_server.serving import Serve, Served, serve

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False, True],
    "UINT8": [0, 1, 2**8 - 1],
    "UINT16": [0, 1, 2**16 - 1],
    "UINT32": [0, 1, 2**32 - 1],
    "UINT64": [0, 1, 2**64 - 1],
    "INT8": [-(2**7), 0, 2**7 - 1],
    "INT16": [-(2**15), 0, 2**15 - 1],
    "INT32": [-(2**31), 0, 2**31 - 1],
    "INT64": [-(2**63), 0, 2**63 - 1],
    "FP16": [-0.5, 0.0, 65504.0],
    "FP32": [-0.1, 0.0, 3.4e38],
    "FP64": [-0.1, 0.0, 1.7e308],
    "BF16": [-0.1, 0.0, 3.3e38],
    "BYTES": ["", "plain", "Grüße"],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("v2")
    repository = write(folder / "models", python_models())
    running = serve(folder, None, "--model_repository", str(repository))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield client


def rows(
    name: str, values: Sequence[Sequence[float]], *, binary: bool = True
) -> triton.InferInput:
    array = np.array(values, dtype=np.float32)
    return tensor(name, array, "FP32", binary=binary)


def tensor(name: str, array: Any, datatype: str, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def refusal(served: Served, body: Any, model: str = "add", **headers: str) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = served.call("POST", f"/v2/models/{model}/infer", data, named)
    return reply.status, reply.json()["error"]


def wire(
    data: Any, *, name: str = "A", shape: Any = (1, 2), datatype: Any = "FP32", **more: Any
) -> dict[str, Any]:
    b = {"name": "B", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}
    a = {"name": name, "shape": list(shape), "datatype": datatype, "data": data}
    return {"inputs": [a, b], **more}


class TestDescription:
    def test_health_says_live_and_ready(self, client: triton.InferenceServerClient) -> None:
        assert client.is_server_live() and client.is_server_ready()

    def test_a_model_is_ready_and_an_unknown_one_or_version_is_not(
        self, client: triton.InferenceServerClient
    ) -> None:
        ready = [
            client.is_model_ready(name, version)
            for name, version in (("add", ""), ("add", "2"), ("add", "3"), ("other", ""))
        ]
        assert ready == [True, True, False, False]

    def test_metadata_names_versions_and_shapes_with_the_batch(
        self, client: triton.InferenceServerClient
    ) -> None:
        found = client.get_model_metadata("add")
        assert (found["versions"], found["platform"]) == (["1", "2"], "python")
        assert found["inputs"] == [
            {"name": "A", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "B", "datatype": "FP32", "shape": [-1, 2]},
        ]
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]

    def test_the_configuration_is_told_as_it_was_written(
        self, client: triton.InferenceServerClient
    ) -> None:
        found = client.get_model_config("add")
        assert found["max_batch_size"] == 4
        assert found["input"][0]["data_type"] == "TYPE_FP32"
        assert found["parameters"] == {"SCALE": {"string_value": "1\n and more"}}
        assert found["version_policy"] == {"specific": {"versions": [1, 2]}}

    def test_the_index_lists_every_version(self, client: triton.InferenceServerClient) -> None:
        found = [
            (one["name"], one["version"], one["state"])
            for one in client.get_model_repository_index()
            if one["name"] in ("add", "both")
        ]
        assert found == [("add", "1", "READY"), ("add", "2", "READY"), ("both", "1", "READY")]

    def test_models_are_neither_loaded_nor_unloaded_by_callers(
        self, client: triton.InferenceServerClient
    ) -> None:
        for change in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="deploy another version"):
                change("add")
        assert client.is_model_ready("add")

    def test_statistics_count_what_went_well_and_what_did_not(
        self, start: Serve, tmp_path: Path
    ) -> None:
        repository = write(
            tmp_path / "models",
            {
                "add/config.pbtxt": ADD_CONFIG,
                "add/1/model.py": ADD,
                "add/2/model.py": ADD,
                "add/labels.txt": "",
            },
        )
        running = serve(tmp_path / "server", None, "--model_repository", str(repository))
        try:
            with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
                client.infer("add", [rows("A", [[1, 2]]), rows("B", [[1, 2]])])
                with pytest.raises(InferenceServerException):
                    client.infer("add", [rows("A", [[1, 2]])])
                (newest,) = client.get_inference_statistics("add", "2")["model_stats"]
                everything = client.get_inference_statistics()["model_stats"]
        finally:
            running.stop()
        told = newest["inference_stats"]
        assert (told["success"]["count"], told["fail"]["count"]) == (1, 1)
        assert told["compute_infer"]["ns"] > 0 and newest["last_inference"] > 0
        assert [one["version"] for one in everything] == ["1", "2"]


class TestInference:
    @pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
    @pytest.mark.parametrize("kind", TYPES)
    def test_every_datatype_comes_back_as_it_went(
        self, client: triton.InferenceServerClient, kind: str, binary: bool
    ) -> None:
        datatype = "BYTES" if kind == "STRING" else kind
        values = (
            [one.encode() for one in VALUES["BYTES"]] if kind == "STRING" else VALUES[datatype]
        )
        array = np.array(values, dtype=triton_to_np_dtype(datatype))
        if datatype in ("FP16", "BF16") and not binary:
            # The client itself refuses to send these as JSON.
            given = triton.InferInput("IN", [3], datatype)
            given._data = array.tolist()
        else:
            given = tensor("IN", array, datatype, binary=binary)
        asked = triton.InferRequestedOutput("OUT", binary_data=binary)
        answer = client.infer(f"echo_{kind.lower()}", [given], outputs=[asked])
        found = answer.as_numpy("OUT").tolist()
        expected = VALUES["BYTES"] if kind == "STRING" and not binary else array.tolist()
        assert found == expected
        assert answer.get_output("OUT")["datatype"] == datatype

    def test_the_newest_version_answers_unless_another_is_named(
        self, client: triton.InferenceServerClient
    ) -> None:
        given = [rows("A", [[1, 2], [3, 4]]), rows("B", [[1, 1], [1, 1]], binary=False)]
        newest = client.infer("add", given, request_id="r-1")
        first = client.infer("add", given, model_version="1")
        assert newest.as_numpy("SUM").tolist() == [[4, 6], [8, 10]]
        assert first.as_numpy("SUM").tolist() == [[2, 3], [4, 5]]
        assert newest.get_response()["id"] == "r-1"
        assert (newest.get_response()["model_version"], first.get_response()["model_version"]) == (
            "2",
            "1",
        )

    @pytest.mark.parametrize("how", ["gzip", "deflate"])
    def test_bodies_may_be_compressed_both_ways(
        self, client: triton.InferenceServerClient, how: str
    ) -> None:
        array = np.arange(5_000, dtype=np.int64)
        answer = client.infer(
            "echo_int64",
            [tensor("IN", array, "INT64")],
            request_compression_algorithm=how,
            response_compression_algorithm=how,
        )
        assert (answer.as_numpy("OUT") == array).all()

    def test_a_large_tensor_passes_whole(self, client: triton.InferenceServerClient) -> None:
        array = np.random.default_rng(1).integers(0, 255, 3_000_000, dtype=np.uint8)
        answer = client.infer("echo_uint8", [tensor("IN", array, "UINT8")])
        assert (answer.as_numpy("OUT") == array).all()

    def test_outputs_are_json_unless_binary_is_asked_for(self, served: Served) -> None:
        reply = served.call("POST", "/v2/models/add/infer", json.dumps(wire([[1, 2]])))
        assert reply.status == 200, reply.body
        assert reply.header("content-type") == "application/json"
        assert reply.json()["outputs"] == [
            {"name": "SUM", "datatype": "FP32", "shape": [1, 2], "data": [4.0, 6.0]}
        ]
        asked = wire([1, 2], parameters={"binary_data_output": True})
        reply = served.call("POST", "/v2/models/add/infer", json.dumps(asked))
        size = int(reply.header("inference-header-content-length") or 0)
        assert np.frombuffer(reply.body[size:], "<f4").tolist() == [4, 6]

    def test_a_body_may_be_one_tensor_and_nothing_else(self, served: Served) -> None:
        reply = served.call(
            "POST",
            "/v2/models/echo_int16/infer",
            np.array([1, -2, 3], "<i2").tobytes(),
            {"Inference-Header-Content-Length": "0"},
        )
        size = int(reply.header("inference-header-content-length") or 0)
        assert np.frombuffer(reply.body[size:], "<i2").tolist() == [1, -2, 3]

    def test_classification_tells_value_index_and_label(
        self, client: triton.InferenceServerClient
    ) -> None:
        answer = client.infer(
            "add",
            [rows("A", [[1, 2], [9, 1]]), rows("B", [[0, 0], [0, 0]])],
            outputs=[triton.InferRequestedOutput("SUM", class_count=1)],
            model_version="1",
        )
        assert answer.as_numpy("SUM").tolist() == [[b"2.000000:1:warm"], [b"9.000000:0:cold"]]

    def test_a_model_asks_another_one(self, client: triton.InferenceServerClient) -> None:
        assert client.infer("ask", [rows("X", [[1, 2]])]).as_numpy("Y").tolist() == [[2, 4]]
        with pytest.raises(InferenceServerException, match="A is negative"):
            client.infer("ask", [rows("X", [[-1, 2]])])

    def test_a_model_logs_counts_and_looks_for_others(
        self, client: triton.InferenceServerClient
    ) -> None:
        for calls in (1.0, 2.0):
            answer = client.infer("aside", [tensor("X", np.zeros(1, np.float32), "FP32")])
            assert answer.as_numpy("Y").tolist() == [calls, 1.0, 0.0]

    def test_an_ensemble_hands_tensors_on(self, client: triton.InferenceServerClient) -> None:
        assert client.infer("both", [rows("X", [[1, 2]])]).as_numpy("Z").tolist() == [[6, 12]]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"{", "failed to parse the request JSON buffer"),
            ({}, "has no 'inputs'"),
            ({"inputs": []}, "missing: A, B"),
            (wire([1, 2], name="C"), "unexpected inference input 'C' for model 'add'; its inputs are A, B"),
            (
                wire([1, 2, 3], shape=[1, 3]),
                "unexpected shape for input 'A' for model 'add'. Expected [-1,2], got [1,3]",
            ),
            (
                wire([1, 2], datatype="INT32"),
                "'A' data-type is 'INT32', but model 'add' expects 'FP32'",
            ),
            (wire([1, 2], datatype="FLOAT"), "known datatypes: BOOL, UINT8"),
            (wire([1, 2, 3]), "input 'A' has 3 elements; shape [1,2] needs 2"),
            (wire(["1", "2"]), "the data of input 'A' is not all FP32"),
            (wire([[1, 2], [3]]), "rows of unequal length"),
            (wire([1, 2], shape=[-1, 2]), "must be a list of sizes from 0 on"),
            (wire([1, 2] * 5, shape=[5, 2]), "differ in batch size"),
            (wire([1, 2], outputs=[{"name": "X"}]), "unexpected inference output 'X' for model 'add'"),
            (wire([-1, 2]), "A is negative"),
        ],
        ids=lambda value: value[:30] if isinstance(value, str) else "",
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, served: Served, body: Any, words: str) -> None:
        status, error = refusal(served, body)
        assert words in error
        assert status == (500 if "negative" in words else 400)

    def test_a_batch_above_the_limit_is_refused(
        self, client: triton.InferenceServerClient
    ) -> None:
        many = [[1, 2]] * 5
        with pytest.raises(InferenceServerException, match="batch-size must be from 1 to 4"):
            client.infer("add", [rows("A", many), rows("B", many)])

    @pytest.mark.parametrize(
        ("values", "datatype", "words"),
        [
            ([256], "uint8", "has 256, which is no UINT8"),
            ([-1], "uint64", "has -1, which is no UINT64"),
            ([1.5], "int32", "is not all INT32"),
            ([2**70], "int64", "which is no INT64"),
            ([1], "bool", "is not all BOOL"),
            ([1], "string", "must be texts"),
        ],
    )
    def test_a_number_that_is_none_of_the_datatype_is_refused(
        self, served: Served, values: list[Any], datatype: str, words: str
    ) -> None:
        kind = "BYTES" if datatype == "string" else datatype.upper()
        body = {"inputs": [{"name": "IN", "shape": [1], "datatype": kind, "data": values}]}
        status, error = refusal(served, body, f"echo_{datatype}")
        assert (status, words in error) == (400, True), error

    @pytest.mark.parametrize(
        ("size", "tail", "words"),
        [
            (8, b"1234567", "has binary_data_size 8; 7 bytes"),
            (7, b"1234567", "has 7 bytes of binary data; shape [1,2] of FP32 needs 8"),
            (8, b"123456789", "1 bytes are left after the last tensor"),
        ],
    )
    def test_binary_data_of_the_wrong_size_is_refused(
        self, served: Served, size: int, tail: bytes, words: str
    ) -> None:
        one = {"name": "A", "shape": [1, 2], "datatype": "FP32"}
        head = json.dumps({"inputs": [{**one, "parameters": {"binary_data_size": size}}]}).encode()
        status, error = refusal(
            served, head + tail, Inference_Header_Content_Length=str(len(head))
        )
        assert (status, words in error) == (400, True), error

    def test_a_body_that_is_not_what_its_encoding_says_is_refused(self, served: Served) -> None:
        assert refusal(served, b"plain", Content_Encoding="gzip")[0] == 400
        assert refusal(served, gzip.compress(b"{}")[:-9], Content_Encoding="gzip")[0] == 400
        assert refusal(served, b"plain", Content_Encoding="br")[0] == 415

    def test_an_unknown_model_or_version_is_not_found(
        self, client: triton.InferenceServerClient
    ) -> None:
        given = [rows("A", [[1, 2]]), rows("B", [[1, 2]])]
        with pytest.raises(InferenceServerException, match="'other' is not found") as caught:
            client.infer("other", given)
        assert caught.value.status() == "404"
        with pytest.raises(InferenceServerException, match="'add' version 9 is not found"):
            client.infer("add", given, model_version="9")

    def test_what_a_model_raises_is_told_and_logged(
        self, served: Served, client: triton.InferenceServerClient
    ) -> None:
        with pytest.raises(InferenceServerException, match="ValueError: A is too large"):
            client.infer("add", [rows("A", [[1001, 2]]), rows("B", [[1, 2]])])
        assert "ValueError: A is too large" in served.wait_for_log("Traceback")

    def test_other_paths_say_how_to_ask(self, served: Served) -> None:
        reply = served.call("POST", "/score", "{}")
        assert (reply.status, "/v2/models" in reply.json()["error"]) == (404, True)
        assert served.call("GET", "/v2/models/add/infer").status == 405
        assert served.call("GET", "/v2/logging").status == 404
        assert served.call("GET", "/").body == b"Healthy"


class TestStart:
    @pytest.mark.parametrize(
        ("policy", "versions"),
        [
            ("", ["10"]),
            ("latest { num_versions: 2 }", ["2", "10"]),
            ("all { }", ["1", "2", "10"]),
            ("specific { versions: [1, 10] }", ["1", "10"]),
        ],
    )
    def test_the_version_policy_says_what_is_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, versions: list[str]
    ) -> None:
        config = ASK_CONFIG + (f"version_policy: {{ {policy} }}" if policy else "")
        files = {f"m/{number}/model.py": ASK for number in (1, 2, 10)}
        repository = write(tmp_path / "models", {"m/config.pbtxt": config, **files})
        monkeypatch.setattr(sys, "path", list(sys.path))
        options = {"model_repository": str(repository), "shims": SHIMS, "max_body_bytes": 0}
        loaded = Repository({"scoring_timeout_ms": 1_000, **options})
        loaded.init("")
        (described,) = loaded.description()["models"]
        assert described["versions"] == versions

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({}, "no folder of a model"),
            ({"m/config.pbtxt": ""}, "Model 'm': it has no version"),
            ({"m/1/model.plan": "x"}, "Model 'm': the backend tensorrt needs Triton itself"),
            ({"m/1/readme.txt": "x"}, "has no model.onnx and no model.py"),
            ({"m/config.pbtxt": 'name: "n"', "m/1/model.py": ADD}, "the model 'n', its folder is 'm'"),
            ({"m/config.pbtxt": "input [\n{ name ]", "m/1/model.py": ADD}, "config.pbtxt, line 2"),
            ({"m/1/model.py": "x = 1"}, "has no class TritonPythonModel"),
            ({"m/1/model.py": "import nowhere_at_all"}, "needs nowhere_at_all"),
            ({"m/config.pbtxt": ENSEMBLE_CONFIG}, "the ensemble's step 'add' is not in the repository"),
            (
                {"m/config.pbtxt": ASK_CONFIG, "m/1/model.py": "class TritonPythonModel: pass"},
                "has no execute()",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_a_model_that_cannot_be_served_is_named(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        files: dict[str, str | bytes],
        words: str,
    ) -> None:
        (tmp_path / "models").mkdir()
        repository = write(tmp_path / "models", files)
        monkeypatch.setattr(sys, "path", list(sys.path))
        options = {"model_repository": str(repository), "shims": SHIMS, "max_body_bytes": 0}
        with pytest.raises(CannotStart) as caught:
            Repository({"scoring_timeout_ms": 1_000, **options}).init("")
        assert words in caught.value.message

    def test_a_server_of_a_model_that_cannot_be_served_ends(
        self, start: Serve, tmp_path: Path
    ) -> None:
        repository = write(tmp_path / "models", {"m/1/model.plan": "x"})
        running = start(None, "--model_repository", str(repository))
        assert running.process.wait(20) == 3
        assert "set PORTICO_TRITON_IMAGE" in running.status["message"]
