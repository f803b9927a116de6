"""A model's `config.pbtxt`: read from protobuf's text form, without protobuf.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

DEFAULT_FILES = {
    "model.onnx": "onnxruntime",
    "model.py": "python",
    "model.pt": "pytorch",
    "model.plan": "tensorrt",
    "model.graphdef": "tensorflow",
    "model.savedmodel": "tensorflow",
    "model.xml": "openvino",
}
BACKENDS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "ensemble": "ensemble",
}
# Fields that are lists, however often they are written.
REPEATED = frozenset(
    (
        "batch_input",
        "batch_output",
        "dims",
        "gpus",
        "input",
        "instance_group",
        "model_warmup",
        "op",
        "output",
        "preferred_batch_size",
        "profile",
        "shape",
        "step",
        "versions",
    )
)
MAPS = frozenset(("cc_model_filenames", "input_map", "metric_tags", "output_map", "parameters"))
# Settings of Triton's own scheduling that mean nothing here: one worker, one request at a time.
IGNORED = ("dynamic_batching", "instance_group", "model_warmup", "optimization", "response_cache")
TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<text>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
    | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[fF]?(?![\w.]))
    | (?P<word>-?[A-Za-z_][\w.]*)
    | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
ESCAPE = re.compile(r"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
MAX_NESTING = 30


class ConfigError(ValueError):
    """The configuration cannot be read or used; the words are for its author."""


@dataclass
class TensorSpec:
    """An input or output: `dims` without the batch dimension, -1 for any size."""

    name: str
    datatype: str
    dims: list[int]
    is_optional: bool = False
    reshape: list[int] | None = None
    label_file: str = ""


@dataclass
class ModelConfig:
    """What we use of a model's configuration, beside all of it as it was written."""

    name: str
    raw: dict[str, Any]
    backend: str = ""
    max_batch_size: int = 0
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        return str(self.raw.get("default_model_filename") or "")

    @property
    def ignored(self) -> list[str]:
        return [name for name in IGNORED if name in self.raw]

    def shape_of(self, spec: TensorSpec) -> list[int]:
        """The shape as callers see it: with the batch in front where the model takes batches."""
        return [-1, *spec.dims] if self.max_batch_size else list(spec.dims)

    def as_json(self) -> dict[str, Any]:
        """The configuration in the form in which Triton tells it."""
        return {
            "platform": "",
            "parameters": {},
            **self.raw,
            "name": self.name,
            "backend": self.backend,
            "max_batch_size": self.max_batch_size,
            "version_policy": self.raw.get("version_policy") or {"latest": {"num_versions": 1}},
            "input": [_tensor_json(spec, is_input=True) for spec in self.inputs],
            "output": [_tensor_json(spec, is_input=False) for spec in self.outputs],
        }

    def versions(self, found: list[int]) -> list[int]:
        """The versions to load of those `found`, by the version policy; ascending."""
        policy = self.raw.get("version_policy") or {}
        found = sorted(found)
        if "all" in policy:
            return found
        if "specific" in policy:
            wanted = [int(version) for version in policy["specific"].get("versions", [])]
            missing = [version for version in wanted if version not in found]
            if missing:
                listed = ", ".join(map(str, found)) or "none"
                raise ConfigError(
                    f"version_policy asks for version {missing[0]}; versions there: {listed}"
                )
            return sorted(wanted)
        count = int((policy.get("latest") or {}).get("num_versions", 1))
        return found[-max(count, 1) :]


def read_config(folder: str) -> ModelConfig:
    """The configuration of the model in `folder`; without a config.pbtxt, an empty one."""
    name = os.path.basename(os.path.normpath(folder))
    path = os.path.join(folder, "config.pbtxt")
    raw: dict[str, Any] = {}
    if os.path.isfile(path):
        try:
            with open(path, encoding="utf-8") as file:
                raw = parse(file.read())
        except UnicodeDecodeError as error:
            raise ConfigError(f"config.pbtxt is not UTF-8 text: {error.reason}") from error
        except ConfigError as error:
            raise ConfigError(f"config.pbtxt, {error}") from error
    told = raw.get("name", name)
    if told != name:
        raise ConfigError(
            f"config.pbtxt names the model '{told}', its folder is '{name}'. They must be the same"
        )
    try:
        return _config_of(name, raw)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"config.pbtxt: {error}") from error


def _config_of(name: str, raw: dict[str, Any]) -> ModelConfig:
    platform = str(raw.get("platform", ""))
    batch = raw.get("max_batch_size", 0)
    if not isinstance(batch, int) or batch < 0:
        raise ConfigError(f"max_batch_size is {batch!r}; it must be a whole number from 0 on")
    return ModelConfig(
        name,
        raw,
        backend=str(raw.get("backend", "")) or BACKENDS.get(platform, platform),
        max_batch_size=batch,
        inputs=[_tensor_spec(one, "input") for one in raw.get("input", [])],
        outputs=[_tensor_spec(one, "output") for one in raw.get("output", [])],
    )


def _tensor_spec(raw: dict[str, Any], kind: str) -> TensorSpec:
    for key in ("name", "data_type", "dims"):
        if key not in raw:
            raise ConfigError(f"{kind} '{raw.get('name', '?')}' has no {key}")
    reshape = raw.get("reshape")
    return TensorSpec(
        name=str(raw["name"]),
        datatype=datatype_of(str(raw["data_type"])),
        dims=[int(size) for size in raw["dims"]],
        is_optional=bool(raw.get("optional", False)),
        reshape=None if reshape is None else [int(size) for size in reshape.get("shape", [])],
        label_file=str(raw.get("label_filename", "")),
    )


def datatype_of(data_type: str) -> str:
    """`TYPE_STRING` → `BYTES`, `TYPE_FP32` → `FP32`: the protocol's name of a configured type."""
    name = data_type[5:] if data_type.startswith("TYPE_") else data_type
    return "BYTES" if name == "STRING" else name


def _tensor_json(spec: TensorSpec, *, is_input: bool) -> dict[str, Any]:
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    found: dict[str, Any] = {"name": spec.name, "data_type": f"TYPE_{name}", "dims": spec.dims}
    if spec.reshape is not None:
        found["reshape"] = {"shape": spec.reshape}
    if is_input:
        found["optional"] = spec.is_optional
    else:
        found["label_filename"] = spec.label_file
    return found


def parse(text: str) -> dict[str, Any]:
    """The text as nested dictionaries; ConfigError names the line of what cannot be read."""
    return _Parser(text).message("", 0)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._start = 0
        self._kind = ""
        self._token = ""
        self._advance()

    def message(self, end: str, depth: int) -> dict[str, Any]:
        """Fields up to `end`, which is taken as well; an empty `end` is the end of the text."""
        if depth > MAX_NESTING:
            self._refuse("it is nested too deeply")
        found: dict[str, Any] = {}
        while not (self._kind == "mark" and self._token == end) and self._kind:
            self._field(found, depth)
        if end and not self._kind:
            self._refuse(f"'{end}' is missing at the end")
        if end:
            self._advance()
        return found

    def _field(self, found: dict[str, Any], depth: int) -> None:
        if self._kind != "word":
            self._refuse(f"a field name is expected, not {self._token!r}")
        name = self._token
        self._advance()
        if self._token == ":" and self._kind == "mark":
            self._advance()
        elif not (self._kind == "mark" and self._token in "{<["):
            self._refuse(f"':' is expected after {name}")
        is_list = self._kind == "mark" and self._token == "["
        values = self._list(depth) if is_list else [self._value(depth)]
        for value in values:
            _put(found, name, value)
        if not values and name in REPEATED:
            found.setdefault(name, [])
        while self._kind == "mark" and self._token in ",;":
            self._advance()

    def _list(self, depth: int) -> list[Any]:
        self._advance()
        values: list[Any] = []
        while not (self._kind == "mark" and self._token == "]"):
            values.append(self._value(depth))
            if self._kind == "mark" and self._token == ",":
                self._advance()
            elif not (self._kind == "mark" and self._token == "]"):
                self._refuse("',' or ']' is expected in the list")
        self._advance()
        return values

    def _value(self, depth: int) -> Any:
        kind, token = self._kind, self._token
        if kind == "mark" and token in "{<":
            self._advance()
            return self.message("}" if token == "{" else ">", depth + 1)
        if kind == "text":
            parts = []
            while self._kind == "text":
                parts.append(_unquoted(self._token))
                self._advance()
            return "".join(parts)
        if kind == "number":
            self._advance()
            return _number(token)
        if kind == "word":
            self._advance()
            return {"true": True, "false": False}.get(token.lower(), token)
        self._refuse(f"a value is expected, not {token!r}" if token else "a value is missing")
        raise AssertionError

    def _advance(self) -> None:
        while self._place < len(self._text):
            self._start = self._place
            found = TOKEN.match(self._text, self._place)
            if found is None:
                self._refuse(f"{self._text[self._place :][:20].splitlines()[0]!r} cannot be read")
            assert found is not None
            self._place = found.end()
            if found.lastgroup:
                self._kind, self._token = found.lastgroup, found.group()
                return
        self._start = self._place
        self._kind, self._token = "", ""

    def _refuse(self, reason: str) -> None:
        raise ConfigError(f"line {self._text.count(chr(10), 0, self._start) + 1}: {reason}")


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    if name in MAPS and isinstance(value, dict):
        found.setdefault(name, {})[str(value.get("key", ""))] = value.get("value", {})
    elif name in REPEATED:
        found.setdefault(name, []).append(value)
    else:
        found[name] = value


def _number(token: str) -> int | float:
    if re.fullmatch(r"[-+]?\d+", token):
        return int(token)
    if "x" in token.lower():
        return int(token, 16)
    return float(token.rstrip("fF"))


def _unquoted(token: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "01234567":
            return chr(int(code, 8))
        if code[0] in "xX" and len(code) > 1:
            return chr(int(code[1:], 16))
        return ESCAPES.get(code, code)

    return ESCAPE.sub(replace, token[1:-1])
