"""What a model of Triton's Python backend imports: tensors, requests, answers and look-ups.

The names and their behaviour are Triton's. Needs numpy; Python 3.8 to 3.13.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_TYPES: dict[str, Any] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
    "TYPE_BF16": np.float32,  # its numbers are handed over as these
}
TRITON_STRING_TO_NUMPY = _TYPES
TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2

# The server's part: how InferenceRequest.exec() reaches other models, and whose turn it is.
_server: dict[str, Any] = {"ask": None, "knows": None, "folder": ""}


def connect(ask: Callable[[Any], Any], knows: Callable[[str, str], bool]) -> None:
    """Called by the server before any model is loaded: to ask another model, and whether there is one."""
    _server["ask"] = ask
    _server["knows"] = knows


def enter(folder: str) -> None:
    """Called by the server before each call of a model: the folder of its version."""
    _server["folder"] = folder


class TritonModelException(Exception):
    """Raised for what a model cannot do."""


class TritonError(Exception):
    """Why a request failed, told to the caller."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS = range(7)
    CANCELLED = 7

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self._message = message
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: Any) -> None:
        if not isinstance(array, np.ndarray):
            raise TritonModelException(
                f"Tensor '{name}' needs a numpy array, not {type(array).__name__}"
            )
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array

    def triton_dtype(self) -> str:
        return numpy_to_triton_type(self._array.dtype)

    def shape(self) -> tuple[int, ...]:
        return tuple(self._array.shape)

    def is_cpu(self) -> bool:
        return True

    def to_dlpack(self) -> Any:
        return self._array.__dlpack__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    @staticmethod
    def from_dlpack(name: str, array: Any) -> Tensor:
        return Tensor(name, np.from_dlpack(array))


class InferenceRequest:
    """One request: given to execute(), or made by a model to ask another one."""

    def __init__(
        self,
        model_name: str = "",
        requested_output_names: Sequence[str] = (),
        inputs: Sequence[Tensor] = (),
        request_id: str = "",
        correlation_id: Any = 0,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        parameters: Any = None,
        **others: Any,
    ) -> None:
        self.model_name = model_name
        self.model_version = model_version
        self._outputs = list(requested_output_names)
        self._inputs = list(inputs)
        self._request_id = request_id
        self._correlation_id = correlation_id
        self._flags = flags
        self._timeout = timeout
        self._parameters = dict(parameters or {})

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> Any:
        return self._correlation_id

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def parameters(self) -> str:
        return json.dumps(self._parameters)

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        return self._timeout

    def is_cancelled(self) -> bool:
        return False

    def exec(self, decoupled: bool = False) -> InferenceResponse:
        if decoupled:
            raise TritonModelException("Decoupled requests need Triton itself")
        response: InferenceResponse = _server["ask"](self)
        return response

    async def async_exec(self, decoupled: bool = False) -> InferenceResponse:
        await asyncio.sleep(0)
        return self.exec(decoupled)


class InferenceResponse:
    """The outputs of one request, or why there are none."""

    def __init__(
        self, output_tensors: Sequence[Tensor] = (), error: Any = None, **others: Any
    ) -> None:
        self._tensors = list(output_tensors or ())
        self._error = TritonError(error) if isinstance(error, str) else error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> Any:
        return self._error


class ModelConfig:
    """The configuration that auto_complete_config() completes."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def as_dict(self) -> dict[str, Any]:
        return self._config

    def set_max_batch_size(self, size: int) -> None:
        self._config["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        self._config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, policy: dict[str, Any]) -> None:
        self._config["model_transaction_policy"] = policy

    def add_input(self, tensor: dict[str, Any]) -> None:
        self._add("input", tensor)

    def add_output(self, tensor: dict[str, Any]) -> None:
        self._add("output", tensor)

    def _add(self, kind: str, tensor: dict[str, Any]) -> None:
        for key in ("name", "data_type", "dims"):
            if key not in tensor:
                raise ValueError(f"the {kind} has no {key}")
        known = self._config.setdefault(kind, [])
        if all(one["name"] != tensor["name"] for one in known):
            known.append(tensor)


class Logger:
    """Lines of a model in the deployment's log."""

    _logger = logging.getLogger("triton")
    INFO, WARNING, ERROR, VERBOSE = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG

    @classmethod
    def log(cls, message: str, level: int = logging.INFO) -> None:
        cls._logger.log(level, "%s", message)

    @classmethod
    def log_info(cls, message: str) -> None:
        cls._logger.info("%s", message)

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls._logger.warning("%s", message)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls._logger.error("%s", message)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls._logger.debug("%s", message)


class Metric:
    """A value of the model's own: kept for the model, shown nowhere."""

    def __init__(self) -> None:
        self._value = 0.0

    def increment(self, value: float) -> None:
        self._value += value

    def set(self, value: float) -> None:
        self._value = float(value)

    def observe(self, value: float) -> None:
        self._value = float(value)

    def value(self) -> float:
        return self._value


class MetricFamily:
    """Metrics of one name."""

    COUNTER, GAUGE, HISTOGRAM = range(3)

    def __init__(self, name: str, description: str, kind: int) -> None:
        self._name = name

    def Metric(self, labels: Any = None, buckets: Any = None) -> Metric:
        return Metric()


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether a model of the repository is loaded; those after the caller in the alphabet come later."""
    found: bool = _server["knows"](model_name, str(model_version or ""))
    return found


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    return next((one for one in request.inputs() if one.name() == name), None)


def get_output_tensor_by_name(response: InferenceResponse, name: str) -> Tensor | None:
    return next((one for one in response.output_tensors() if one.name() == name), None)


def get_input_config_by_name(model_config: dict[str, Any], name: str) -> dict[str, Any] | None:
    return _named(model_config.get("input", []), name)


def get_output_config_by_name(model_config: dict[str, Any], name: str) -> dict[str, Any] | None:
    return _named(model_config.get("output", []), name)


def using_decoupled_model_transaction_policy(model_config: dict[str, Any]) -> bool:
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def get_model_dir() -> str:
    return str(_server["folder"])


def triton_string_to_numpy(triton_type_string: str) -> Any:
    return _TYPES[triton_type_string]


def triton_to_numpy_type(data_type: Any) -> Any:
    if isinstance(data_type, int):
        return list(_TYPES.values())[data_type - 1]
    return _TYPES[data_type if data_type.startswith("TYPE_") else "TYPE_" + data_type]


def numpy_to_triton_type(data_type: Any) -> str:
    dtype = np.dtype(data_type)
    if dtype.kind in "OSU":
        return "TYPE_STRING"
    return next(name for name, known in _TYPES.items() if np.dtype(known) == dtype)


def serialize_byte_tensor(input_tensor: Any) -> Any:
    parts = []
    for value in input_tensor.reshape(-1):
        data = value if isinstance(value, bytes) else str(value).encode()
        parts.append(struct.pack("<I", len(data)) + data)
    return np.frombuffer(b"".join(parts), dtype=np.uint8)


def deserialize_bytes_tensor(encoded_tensor: Any) -> Any:
    data, place, found = bytes(encoded_tensor), 0, []
    while place < len(data):
        (size,) = struct.unpack_from("<I", data, place)
        found.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def _named(configs: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((one for one in configs if one["name"] == name), None)
