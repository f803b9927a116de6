"""Tensors of the Open Inference Protocol (V2): requests decoded to arrays, arrays encoded to answers.

Runs in the deployment's interpreter, which must have numpy; Python 3.8 to 3.13.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DTYPES: dict[str, Any] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),  # as it travels: numpy has no such type, so models see FP32
    "BYTES": np.dtype(object),
}
DATATYPES = {
    (dtype.kind, dtype.itemsize): name
    for name, dtype in DTYPES.items()
    if name not in ("BYTES", "BF16")
}
# Kinds of numbers in JSON that a tensor of a kind may be given as.
FITTING = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
LENGTH = struct.Struct("<I")
MAX_DIMENSIONS = 32


class Refused(Exception):
    """The caller's mistake, or the model's: answered with `status` and `{"error": …}`."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Wanted:
    """An output that was asked for; `is_binary` None leaves it to the request."""

    name: str
    is_binary: bool | None = None
    class_count: int = 0


@dataclass
class Inference:
    """One request to one model, decoded. An empty `wanted` asks for all outputs."""

    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    wanted: list[Wanted] = field(default_factory=list)

    def is_binary(self, name: str) -> bool:
        for one in self.wanted:
            if one.name == name and one.is_binary is not None:
                return one.is_binary
        return bool(self.parameters.get("binary_data_output", False))


def unpack(body: memoryview, encoding: str, limit_bytes: int) -> memoryview:
    """The body without its Content-Encoding; at most `limit_bytes` of it (0: no limit)."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "deflate"):
        raise Refused(f"Content-Encoding is '{encoding}'; gzip and deflate are understood.", 415)
    decoder = zlib.decompressobj(31 if name == "gzip" else 15)
    try:
        found = decoder.decompress(body, limit_bytes)
    except zlib.error as error:
        raise Refused(f"The body is not {name} data: {error}.") from None
    if decoder.unconsumed_tail:
        raise Refused(f"The body unpacks to more than {limit_bytes} bytes.", 413)
    if not decoder.eof:
        raise Refused(f"The {name} data of the body is cut off.")
    return memoryview(found)


def pack(body: bytes, accepted: str) -> tuple[bytes, str]:
    """The body compressed as the caller's Accept-Encoding allows, and the name of how."""
    choices = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    if "gzip" in choices:
        return gzip.compress(body, 1), "gzip"
    if "deflate" in choices:
        return zlib.compress(body, 1), "deflate"
    return body, ""


def decode(body: memoryview, header_bytes: int | None) -> Inference:
    """A request from its JSON and the binary tensors behind it; Refused names what is wrong."""
    size = len(body) if header_bytes is None else header_bytes
    if size > len(body):
        raise Refused(
            f"Inference-Header-Content-Length is {size}, but the body has {len(body)} bytes."
        )
    try:
        found = json.loads(bytes(body[:size]))
    except (ValueError, RecursionError) as error:
        raise Refused(f"failed to parse the request JSON buffer: {error}") from None
    if not isinstance(found, dict):
        raise Refused("failed to parse the request JSON buffer: it must be an object")
    request = Inference(id=str(found.get("id", "")), parameters=_parameters(found, "the request"))
    given = found.get("inputs")
    if not isinstance(given, list):
        raise Refused("the request has no 'inputs'; it must be a list of tensors")
    rest = body[size:]
    for one in given:
        name, datatype, array, used = _input(one, rest)
        if name in request.inputs:
            raise Refused(f"input '{name}' is given twice")
        request.inputs[name], request.datatypes[name] = array, datatype
        rest = rest[used:]
    if len(rest):
        raise Refused(
            f"unexpected additional input data: {len(rest)} bytes are left after the last tensor"
        )
    wanted = found.get("outputs", [])
    if not isinstance(wanted, list):
        raise Refused("'outputs' must be a list")
    request.wanted = [_wanted(one) for one in wanted]
    return request


def from_buffer(name: str, datatype: str, shape: list[int], data: memoryview) -> Any:
    """An array over binary tensor data; Refused if its size is not the one of `shape`."""
    if datatype == "BYTES":
        flat = _texts_from(name, data)
    else:
        dtype = DTYPES[datatype]
        needed = math.prod(shape) * dtype.itemsize
        if len(data) != needed:
            raise Refused(
                f"input '{name}' has {len(data)} bytes of binary data; shape {_dims(shape)} of "
                f"{datatype} needs {needed}"
            )
        flat = np.frombuffer(data, dtype=dtype)
        if datatype == "BF16":
            flat = _widened(flat)
    return _shaped(name, flat, shape)


def datatype_of(array: Any) -> str:
    """The protocol's name of an array's type; Refused for one that it does not have."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    found = DATATYPES.get((array.dtype.kind, array.dtype.itemsize))
    if found is None:
        raise Refused(f"arrays of {array.dtype} cannot be sent", 500)
    return found


def encode(
    request: Inference,
    model: str,
    version: str,
    outputs: dict[str, Any],
    narrow: frozenset[str] = frozenset(),
) -> tuple[bytes, int | None]:
    """The answer's body, and how much of it is JSON when binary tensors follow; outputs in `narrow` go as BF16."""
    described: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, array in outputs.items():
        is_narrow = name in narrow and array.dtype.kind == "f"
        datatype = "BF16" if is_narrow else datatype_of(array)
        one: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if request.is_binary(name):
            data = _to_bytes(array, datatype)
            one["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            one["data"] = _to_json(name, array, datatype)
        described.append(one)
    answer: dict[str, Any] = {"id": request.id} if request.id else {}
    answer.update(model_name=model, model_version=version, outputs=described)
    head = json.dumps(answer, separators=(",", ":")).encode()
    if not binary:
        return head, None
    return b"".join((head, *binary)), len(head)


def classify(array: Any, count: int, labels: list[str], *, has_batch: bool) -> Any:
    """The `count` highest values as `value:index[:label]`, one row for each of the batch."""
    rows = array.reshape(array.shape[0] if has_batch and array.ndim > 1 else 1, -1)
    order = np.argsort(-rows.astype("f8"), axis=1, kind="stable")[:, :count]
    found = np.empty(order.shape, dtype=object)
    for row, places in enumerate(order):
        for column, place in enumerate(places):
            text = (
                f"{rows[row, place]:f}:{place}"
                if array.dtype.kind == "f"
                else (f"{rows[row, place]}:{place}")
            )
            if place < len(labels):
                text += ":" + labels[place]
            found[row, column] = text.encode()
    return found if has_batch else found[0]


def _input(one: Any, rest: memoryview) -> tuple[str, str, Any, int]:
    """Name, datatype and array of an input, and how many bytes of `rest` it took."""
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise Refused("each of the inputs must be an object with a name")
    name, datatype, shape = one["name"], one.get("datatype"), one.get("shape")
    if datatype not in DTYPES:
        known = ", ".join(DTYPES)
        raise Refused(f"input '{name}' has datatype {datatype!r}; known datatypes: {known}")
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape
    ):
        raise Refused(f"input '{name}' has shape {shape!r}; it must be a list of sizes from 0 on")
    parameters = _parameters(one, f"input '{name}'")
    if "shared_memory_region" in parameters:
        raise Refused(f"input '{name}' is in shared memory, which is not available here")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in one:
            raise Refused(f"input '{name}' has neither 'data' nor 'binary_data_size'")
        return name, datatype, _from_json(name, datatype, shape, one["data"]), 0
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise Refused(
            f"input '{name}' has binary_data_size {size!r}; {len(rest)} bytes of binary data are left"
        )
    return name, datatype, from_buffer(name, datatype, shape, rest[:size]), size


def _wanted(one: Any) -> Wanted:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise Refused("each of the outputs must be an object with a name")
    name = one["name"]
    parameters = _parameters(one, f"output '{name}'")
    if "shared_memory_region" in parameters:
        raise Refused(f"output '{name}' is wanted in shared memory, which is not available here")
    count = parameters.get("classification", 0)
    if not isinstance(count, int) or count < 0:
        raise Refused(f"output '{name}': classification is {count!r}; it must be a whole number")
    binary = parameters.get("binary_data")
    return Wanted(name, None if binary is None else bool(binary), count)


def _parameters(found: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = found.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refused(f"the parameters of {where} must be an object")
    return parameters


def _from_json(name: str, datatype: str, shape: list[int], data: Any) -> Any:
    if not isinstance(data, list):
        raise Refused(f"the data of input '{name}' must be a list")
    if datatype == "BYTES":
        flat = _objects(list(_texts_of(name, data)))
    else:
        dtype = DTYPES["FP32" if datatype == "BF16" else datatype]
        try:
            found = np.asarray(data)
        except ValueError:
            raise Refused(
                f"the data of input '{name}' is a list with rows of unequal length"
            ) from None
        fitting = FITTING[dtype.kind]
        if dtype.kind in "iu" and found.dtype.kind in "fO":
            # Whole numbers from 2**63 on, beside smaller ones, would have become floating-point.
            found = np.asarray(data, dtype=object)
            fitting = "O" if all(type(one) is int for one in found.reshape(-1)) else ""
        if found.size and found.dtype.kind not in fitting:
            raise Refused(f"the data of input '{name}' is not all {datatype}")
        if found.size and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            low, high = int(found.min()), int(found.max())
            if low < limits.min or high > limits.max:
                raise Refused(
                    f"the data of input '{name}' has {low if low < limits.min else high}, "
                    f"which is no {datatype}"
                )
        with np.errstate(over="ignore"):
            flat = found.astype(dtype).reshape(-1)
        if datatype == "BF16":
            flat = _widened(_narrowed(flat))
    return _shaped(name, flat, shape)


def _shaped(name: str, flat: Any, shape: list[int]) -> Any:
    needed = math.prod(shape)
    if flat.size != needed:
        raise Refused(
            f"input '{name}' has {flat.size} elements; shape {_dims(shape)} needs {needed}"
        )
    return flat.reshape(shape)


def _texts_of(name: str, data: list[Any], depth: int = 0) -> Iterator[bytes]:
    for one in data:
        if isinstance(one, str):
            yield one.encode("utf-8", "surrogatepass")
        elif isinstance(one, list) and depth < MAX_DIMENSIONS:
            yield from _texts_of(name, one, depth + 1)
        else:
            raise Refused(f"the data of input '{name}' must be texts, since it is BYTES")


def _texts_from(name: str, data: memoryview) -> Any:
    texts: list[bytes] = []
    place = 0
    while place < len(data):
        if place + LENGTH.size > len(data):
            raise Refused(f"the binary data of input '{name}' ends within a length")
        (size,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size
        if place + size > len(data):
            raise Refused(f"the binary data of input '{name}' ends within an element")
        texts.append(bytes(data[place : place + size]))
        place += size
    return _objects(texts)


def _objects(values: list[bytes]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _element(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _to_bytes(array: Any, datatype: str) -> bytes:
    if datatype == "BF16":
        narrow: bytes = _narrowed(array).tobytes()
        return narrow
    if datatype != "BYTES":
        found: bytes = np.ascontiguousarray(array).astype(DTYPES[datatype], copy=False).tobytes()
        return found
    parts = []
    for value in array.reshape(-1):
        data = _element(value)
        parts += [LENGTH.pack(len(data)), data]
    return b"".join(parts)


def _to_json(name: str, array: Any, datatype: str) -> list[Any]:
    flat = array.reshape(-1)
    if datatype == "BF16":
        flat = _widened(_narrowed(flat))
    if datatype != "BYTES":
        numbers: list[Any] = flat.tolist()
        return numbers
    try:
        return [_element(value).decode() for value in flat]
    except UnicodeDecodeError:
        raise Refused(
            f"output '{name}' holds bytes that are no UTF-8 text; ask for it with binary_data"
        ) from None


def _widened(halves: Any) -> Any:
    """FP32 of BF16: its upper half."""
    return (halves.astype("<u4") << 16).view("<f4")


def _narrowed(array: Any) -> Any:
    """BF16 of floating-point numbers as 16 bits each, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding would carry some of what is not a number into infinity.
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")


def _dims(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
