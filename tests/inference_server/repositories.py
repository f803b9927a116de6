"""Triton model repositories for tests: Python models, and ONNX models of a few nodes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

ADD = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.factor = int(args["model_version"])

    def execute(self, requests):
        answers = []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "A").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "B").as_numpy()
            if (a < 0).any():
                answers.append(pb_utils.InferenceResponse(error=pb_utils.TritonError("A is negative")))
            elif (a > 1000).any():
                raise ValueError("A is too large")
            else:
                total = pb_utils.Tensor("SUM", (a + b) * self.factor)
                answers.append(pb_utils.InferenceResponse([total]))
        return answers
"""
ADD_CONFIG = """
name: "add"
backend: "python"
max_batch_size: 4   # in rows
input [
  { name: "A" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "B" data_type: TYPE_FP32 dims: [ 2 ] }
]
output { name: "SUM", data_type: TYPE_FP32, dims: 2, label_filename: "labels.txt" }
version_policy: { specific { versions: [1, 2] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters: { key: "SCALE" value: { string_value: "1\\n" ' and more' } }
"""
ECHO = """
import json
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        kind = json.load(open(__file__.replace("model.py", "type.json")))
        config.add_input({"name": "IN", "data_type": "TYPE_" + kind, "dims": [-1]})
        config.add_output({"name": "OUT", "data_type": "TYPE_" + kind, "dims": [-1]})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        array = pb_utils.get_input_tensor_by_name(requests[0], "IN").as_numpy()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
"""
ASK = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        a = requests[0].inputs()[0].as_numpy()
        asked = pb_utils.InferenceRequest(
            model_name="add",
            model_version=1,
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("A", a), pb_utils.Tensor("B", a)],
        )
        answer = asked.exec()
        if answer.has_error():
            return [pb_utils.InferenceResponse(error=answer.error())]
        found = pb_utils.get_output_tensor_by_name(answer, "SUM").as_numpy()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", found)])]
"""
ASK_CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
ASIDE = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        family = pb_utils.MetricFamily("calls", "How often", pb_utils.MetricFamily.COUNTER)
        self.calls = family.Metric(labels={"model": args["model_name"]})
        pb_utils.Logger.log("it begins", pb_utils.Logger.INFO)

    def execute(self, requests):
        self.calls.increment(1)
        found = [
            self.calls.value(),
            pb_utils.is_model_ready("add"),
            pb_utils.is_model_ready("add", "3"),
        ]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.array(found, np.float32))])]
"""
ASIDE_CONFIG = """
backend: "python"
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""
ENSEMBLE_CONFIG = """
platform: "ensemble"
max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "Z" data_type: TYPE_FP32 dims: [ 2 ] } ]
ensemble_scheduling {
  step [
    { model_name: "add" model_version: 2
      input_map { key: "A" value: "once" } input_map { key: "B" value: "X" }
      output_map { key: "SUM" value: "Z" } },
    { model_name: "add" model_version: 1
      input_map { key: "A" value: "X" } input_map { key: "B" value: "X" }
      output_map { key: "SUM" value: "once" } }
  ]
}
"""
TYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "STRING"),
)


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def python_models() -> dict[str, str | bytes]:
    """`add` in two versions, one echo for each datatype, a model that asks another, an ensemble."""
    files: dict[str, str | bytes] = {
        "add/config.pbtxt": ADD_CONFIG,
        "add/labels.txt": "cold\nwarm\n",
        "add/1/model.py": ADD,
        "add/2/model.py": ADD,
        "add/3/model.py": "raise RuntimeError('the version policy leaves this one out')",
        "ask/config.pbtxt": ASK_CONFIG,
        "ask/1/model.py": ASK,
        "aside/config.pbtxt": ASIDE_CONFIG,
        "aside/1/model.py": ASIDE,
        "both/config.pbtxt": ENSEMBLE_CONFIG,
    }
    for kind in TYPES:
        files[f"echo_{kind.lower()}/1/model.py"] = ECHO
        files[f"echo_{kind.lower()}/1/type.json"] = f'"{kind}"'
    return files


def onnx_linear(factor: float = 2.0, *, opset: int = 13) -> bytes:
    """`y = factor * x` for rows of two, the number of rows open."""
    return _model(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
        opset,
    )


def onnx_texts() -> bytes:
    """Texts go through, and a vector of whole numbers is summed."""
    return _model(
        [
            helper.make_node("Identity", ["words"], ["same"]),
            helper.make_node("ReduceSum", ["counts"], ["total"], keepdims=0),
        ],
        [
            helper.make_tensor_value_info("words", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("counts", TensorProto.INT64, [None]),
        ],
        [
            helper.make_tensor_value_info("same", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("total", TensorProto.INT64, []),
        ],
        [],
        13,
    )


def _model(nodes: list, inputs: list, outputs: list, weights: list, opset: int) -> bytes:  # type: ignore[type-arg]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
