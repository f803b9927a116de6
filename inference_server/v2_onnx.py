"""An ONNX model, run by ONNX Runtime.

Runs in the deployment's interpreter, which must have numpy and onnxruntime; Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

import numpy as np

from inference_server.v2_config import ConfigError, ModelConfig, TensorSpec
from inference_server.v2_tensors import DTYPES, Inference, Refused

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

logger = logging.getLogger("azmlinfsrv")


class OnnxModel:
    """One version; fills what the configuration leaves open from the model itself."""

    def __init__(self, path: str, config: ModelConfig) -> None:
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        # Its own default is one thread for each core of the machine, whatever this instance may use.
        workers = max(1, int(os.environ.get("WORKER_COUNT") or 1))
        options.intra_op_num_threads = max(
            1, int(os.environ.get("OMP_NUM_THREADS") or 0) // workers
        )
        providers = [
            name
            for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if name in runtime.get_available_providers()
        ]
        self._name = config.name
        self._session = runtime.InferenceSession(path, options, providers=providers)
        inputs = self._session.get_inputs()
        outputs = [one for one in self._session.get_outputs() if self._is_tensor(one)]
        config.inputs = config.inputs or [_spec(one, config) for one in inputs]
        config.outputs = config.outputs or [_spec(one, config) for one in outputs]
        check_told("input", config.inputs, inputs, config)
        check_told("output", config.outputs, outputs, config)
        self._types = {one.name: DATATYPES.get(one.type, "") for one in inputs}

    def run(self, inputs: dict[str, Any], wanted: list[str], request: Inference) -> dict[str, Any]:
        feeds = {
            name: _texts(name, array) if self._types[name] == "BYTES" else array
            for name, array in inputs.items()
        }
        try:
            found = self._session.run(wanted, feeds)
        except TimeoutError:
            raise
        except Exception as error:
            logger.error("Model '%s': %s", self._name, error)
            raise Refused(f"onnx runtime error in model '{self._name}': {error}", 500) from error
        return dict(zip(wanted, found))  # noqa: B905 - Python 3.8 has no strict

    def _is_tensor(self, one: Any) -> bool:
        if one.type in DATATYPES:
            return True
        logger.warning(
            "Model '%s': output '%s' is a %s, no tensor; it is left out",
            self._name,
            one.name,
            one.type,
        )
        return False


def check_told(kind: str, told: list[TensorSpec], real: list[Any], config: ModelConfig) -> None:
    """Raises ConfigError where config.pbtxt says other names, types or shapes than the model itself."""
    known = {one.name: one for one in real}
    for spec in told:
        found = known.get(spec.name)
        if found is None:
            raise ConfigError(
                f"config.pbtxt has an {kind} '{spec.name}'; those of the model: {', '.join(known)}"
            )
        datatype = DATATYPES.get(found.type, found.type)
        if datatype != spec.datatype:
            raise ConfigError(
                f"{kind} '{spec.name}' is {datatype} in the model and {spec.datatype} in config.pbtxt"
            )
        has, said = _sizes(found), spec.dims if spec.reshape is None else spec.reshape
        batch = config.max_batch_size
        if batch and has and has[0] not in (-1, batch):
            raise ConfigError(
                f"{kind} '{spec.name}' takes batches of {has[0]} alone, and max_batch_size is {batch}. Set it to 0, "
                "or save the model with an open first dimension"
            )
        said = [-1, *said] if batch else said
        # An open shape is told as none.
        if has and (len(has) != len(said) or not all(map(_may_meet, has, said))):
            raise ConfigError(
                f"{kind} '{spec.name}' has shape {has} in the model and {said} in config.pbtxt"
                + (" with the batch in front" if batch else "")
            )


def _may_meet(one: int, other: int) -> bool:
    return one == other or -1 in (one, other)


def _sizes(one: Any) -> list[int]:
    return [size if isinstance(size, int) and size >= 0 else -1 for size in one.shape or []]


def _spec(one: Any, config: ModelConfig) -> TensorSpec:
    datatype = DATATYPES.get(one.type)
    if datatype is None:
        raise ConfigError(
            f"its input '{one.name}' is a {one.type}; tensors of {', '.join(DATATYPES.values())} are taken. Cast it "
            "within the model"
        )
    dims = _sizes(one)
    if config.max_batch_size:
        if not dims:
            raise ConfigError(
                f"'{one.name}' has no dimension for the batch, but max_batch_size is not 0"
            )
        dims = dims[1:]
    return TensorSpec(one.name, datatype, dims)


def _texts(name: str, array: Any) -> Any:
    found = np.empty(array.shape, dtype=DTYPES["BYTES"])
    try:
        flat = [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1)]
    except UnicodeDecodeError:
        raise Refused(
            f"input '{name}' holds bytes that are no UTF-8 text, which its model needs"
        ) from None
    found.reshape(-1)[:] = flat
    return found
