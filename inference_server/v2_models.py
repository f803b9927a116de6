"""A Triton model repository in a worker: its models loaded, requests checked, run and answered.

Runs in the deployment's interpreter, which must have numpy; Python 3.8 to 3.13.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from dataclasses import dataclass
from typing import Any, Protocol

from inference_server.own_answer import OwnAnswer
from inference_server.scoring_request import Request
from inference_server.scoring_script import Script
from inference_server.start_failure import CannotStart, evidence_of, missing_module, sentence
from inference_server.v2_config import (
    DEFAULT_FILES,
    ConfigError,
    ModelConfig,
    TensorSpec,
    read_config,
)
from inference_server.v2_ensemble import Ensemble
from inference_server.v2_onnx import OnnxModel
from inference_server.v2_python import PythonModel
from inference_server.v2_tensors import (
    DTYPES,
    Inference,
    Refused,
    classify,
    datatype_of,
    decode,
    encode,
    from_buffer,
    pack,
    unpack,
)

WAYS_OUT = (
    "Convert the model to ONNX, or run the repository in Triton's own image: set PORTICO_TRITON_IMAGE on an "
    "installation with the docker runtime"
)
# Below this, a compressed answer is no gain.
WORTH_PACKING_BYTES = 1024

logger = logging.getLogger("azmlinfsrv")


class Backend(Protocol):
    """One version of one model, loaded."""

    def run(self, inputs: dict[str, Any], wanted: list[str], request: Inference) -> dict[str, Any]:
        """Outputs by name for inputs that fit the configuration; Refused is told to the caller."""
        ...


@dataclass
class Model:
    """One model: its configuration, and its versions that are loaded, oldest first."""

    config: ModelConfig
    versions: dict[str, Backend]
    labels: dict[str, list[str]]

    def pick(self, version: str) -> tuple[str, Backend]:
        number = version or list(self.versions)[-1]
        found = self.versions.get(number)
        if found is None:
            raise Refused(unknown(self.config.name, version), 404)
        return number, found


class Repository(Script):
    """All models of a folder, in the place that a scoring script has in a worker."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.name = "the model repository"
        self.app = None
        self.is_raw = self.wants_headers = False
        self.run_batch, self.max_batch = None, 1
        self.scoring_timeout_ms: int = options["scoring_timeout_ms"]
        self._folder: str = options["model_repository"]
        self._limit_bytes: int = options["max_body_bytes"]
        self._models: dict[str, Model] = {}
        # The shims hold triton_python_backend_utils, which only models of this kind import.
        sys.path.append(options["shims"])

    def init(self, model_dir: str) -> None:
        """Loads every model; CannotStart names the one that cannot be."""
        names = sorted(
            entry.name
            for entry in os.scandir(self._folder)
            if entry.is_dir() and not entry.name.startswith(".")
        )
        if not names:
            raise CannotStart("ModelLoadFailed", "The model repository has no folder of a model")
        for name in names:
            try:
                self._models[name] = self._load(os.path.join(self._folder, name))
            except CannotStart:
                raise
            except ConfigError as error:
                raise CannotStart("ModelLoadFailed", f"Model '{name}': {error}") from error
            except BaseException as error:
                missing = missing_module(error)
                reason = (
                    f"needs {missing}, which is not in the environment"
                    if missing
                    else f"cannot be loaded: {sentence(error)}"
                )
                raise CannotStart(
                    "ModelLoadFailed", f"Model '{name}' {reason}", evidence_of(error)
                ) from error
        for model in self._models.values():
            for backend in model.versions.values():
                if isinstance(backend, Ensemble):
                    self._check_steps(model.config.name, backend)

    def description(self) -> dict[str, Any]:
        """What the I/O process tells about the models without asking again."""
        return {
            "pid": os.getpid(),
            "is_raw": False,
            "wants_headers": False,
            "max_batch": 1,
            "swagger_versions": [],
            "input_schema": {},
            "output_schema": {},
            "models": [_described(model) for model in self._models.values()],
        }

    def arguments(self, request: Request) -> dict[str, Any]:
        return {"request": request}

    def run(self, request: Request) -> OwnAnswer:
        """Answers one inference; the I/O process has put what it found in the request's head into the query."""
        order = json.loads(request.query)
        try:
            body = unpack(request.body, order["encoding"], self._limit_bytes)
            name, version = order["model"], order["version"]
            model = self._models.get(name)
            if model is None:
                raise Refused(unknown(name, version), 404)
            number, backend = model.pick(version)
            if order["header_bytes"] == 0:
                inference = _raw_inference(model.config, body)
            else:
                inference = decode(body, order["header_bytes"])
            outputs = self._infer(model, backend, inference)
            narrow = frozenset(
                spec.name for spec in model.config.outputs if spec.datatype == "BF16"
            )
            data, json_bytes = encode(inference, name, number, outputs, narrow)
        except Refused as error:
            return OwnAnswer(
                error.status,
                b"content-type: application/json\r\n",
                json.dumps({"error": error.message}).encode(),
            )
        headers = b"content-type: application/json\r\n"
        if json_bytes is not None:
            headers = (
                b"content-type: application/octet-stream\r\n"
                b"Inference-Header-Content-Length: %d\r\n" % json_bytes
            )
        if order["accepts"] and len(data) >= WORTH_PACKING_BYTES:
            data, how = pack(data, order["accepts"])
            headers += f"content-encoding: {how}\r\n".encode() if how else b""
        return OwnAnswer(200, headers, data)

    def call(self, name: str, version: str, request: Inference) -> dict[str, Any]:
        """One model for another: a step of an ensemble, or a Python model's own request."""
        model = self._models.get(name)
        if model is None:
            raise Refused(unknown(name, version), 404)
        return self._infer(model, model.pick(version)[1], request)

    def knows(self, name: str, version: str) -> bool:
        model = self._models.get(name)
        return model is not None and (not version or version in model.versions)

    def _infer(self, model: Model, backend: Backend, request: Inference) -> dict[str, Any]:
        config = model.config
        check(config, request)
        known = [spec.name for spec in config.outputs]
        for one in request.wanted:
            if one.name not in known:
                raise Refused(
                    f"unexpected inference output '{one.name}' for model '{config.name}'; its outputs are "
                    f"{', '.join(known)}"
                )
        wanted = [one.name for one in request.wanted] or known
        inputs = {
            spec.name: reshaped(config, spec, request.inputs[spec.name], spec.reshape)
            for spec in config.inputs
            if spec.name in request.inputs
        }
        found = backend.run(inputs, wanted, request)
        specs = {spec.name: spec for spec in config.outputs}
        outputs = {}
        for name in wanted:
            if name not in found:
                raise Refused(f"model '{config.name}' gave no output '{name}'", 500)
            array, spec = found[name], specs[name]
            if spec.reshape is not None:
                array = reshaped(config, spec, array, spec.dims)
            outputs[name] = array
        for one in request.wanted:
            if one.class_count:
                outputs[one.name] = classify(
                    outputs[one.name],
                    one.class_count,
                    model.labels.get(one.name, []),
                    has_batch=config.max_batch_size > 0,
                )
        return outputs

    def _load(self, folder: str) -> Model:
        config = read_config(folder)
        numbers = [
            int(entry.name)
            for entry in os.scandir(folder)
            if entry.is_dir() and entry.name.isdigit() and int(entry.name) > 0
        ]
        if not numbers and config.backend == "ensemble":
            numbers = [1]  # its folder would be empty, which few ways of copying keep
        if not numbers:
            raise ConfigError(
                "it has no version: put the model's file into a folder with a number, such as 1/model.onnx"
            )
        if config.ignored:
            logger.warning("Model '%s': %s is ignored", config.name, ", ".join(config.ignored))
        versions: dict[str, Backend] = {}
        for number in config.versions(numbers):
            versions[str(number)] = self._load_version(config, os.path.join(folder, str(number)))
            logger.info("Model '%s' version %s is loaded", config.name, number)
        for spec in (*config.inputs, *config.outputs):
            if spec.datatype not in DTYPES:
                raise ConfigError(f"'{spec.name}' has data type {spec.datatype}, unknown here")
        return Model(config, versions, _labels(folder, config))

    def _load_version(self, config: ModelConfig, folder: str) -> Backend:
        found = [name for name in DEFAULT_FILES if os.path.exists(os.path.join(folder, name))]
        backend = config.backend or (DEFAULT_FILES[found[0]] if found else "")
        config.backend = backend
        if backend == "onnxruntime":
            return OnnxModel(_file(folder, config, "model.onnx"), config)
        if backend == "python":
            return PythonModel(_file(folder, config, "model.py"), config, self.call, self.knows)
        if backend == "ensemble":
            return Ensemble(config, self.call)
        if backend:
            raise ConfigError(f"the backend {backend} needs Triton itself. {WAYS_OUT}")
        raise ConfigError(
            f"version {os.path.basename(folder)} has no model.onnx and no model.py, and its config.pbtxt names "
            f"no backend. {WAYS_OUT}"
        )

    def _check_steps(self, name: str, ensemble: Ensemble) -> None:
        for step in ensemble.steps:
            if step.model not in self._models:
                raise CannotStart(
                    "ModelLoadFailed",
                    f"Model '{name}': the ensemble's step '{step.model}' is not in the repository",
                )


def check(config: ModelConfig, request: Inference) -> None:
    """Refused if an input is missing, unknown, or of another type or shape than the configuration says."""
    specs = {spec.name: spec for spec in config.inputs}
    for name in request.inputs:
        if name not in specs:
            raise Refused(
                f"unexpected inference input '{name}' for model '{config.name}'; its inputs are "
                f"{', '.join(specs)}"
            )
    missing = [
        spec.name
        for spec in config.inputs
        if spec.name not in request.inputs and not spec.is_optional
    ]
    if missing:
        raise Refused(
            f"expected {len(specs)} inputs but got {len(request.inputs)} inputs for model '{config.name}'; "
            f"missing: {', '.join(missing)}"
        )
    sizes = {}
    for name, array in request.inputs.items():
        spec = specs[name]
        given = request.datatypes.get(name) or datatype_of(array)
        if name not in request.datatypes and (given, spec.datatype) == ("FP32", "BF16"):
            given = "BF16"  # from another model, which knows the numbers as FP32
        if given != spec.datatype:
            raise Refused(
                f"inference input '{name}' data-type is '{given}', but model '{config.name}' expects "
                f"'{spec.datatype}'"
            )
        expected, shape = config.shape_of(spec), list(array.shape)
        if len(shape) != len(expected) or any(
            want not in (-1, have)
            for want, have in zip(expected, shape)  # noqa: B905 - Python 3.8 has no strict
        ):
            raise Refused(
                f"unexpected shape for input '{name}' for model '{config.name}'. Expected "
                f"{_dims(expected)}, got {_dims(shape)}"
            )
        if config.max_batch_size:
            sizes[name] = shape[0]
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"'{name}' has {size}" for name, size in sizes.items())
        raise Refused(f"the inputs of model '{config.name}' differ in batch size: {told}")
    for name, size in sizes.items():
        if not 1 <= size <= config.max_batch_size:
            raise Refused(
                f"inference request batch-size must be from 1 to {config.max_batch_size} for model "
                f"'{config.name}'; input '{name}' has {size}"
            )


def reshaped(config: ModelConfig, spec: TensorSpec, array: Any, shape: list[int] | None) -> Any:
    """The array in the shape that the model wants for what callers see otherwise."""
    if shape is None:
        return array
    batch = [array.shape[0]] if config.max_batch_size else []
    try:
        return array.reshape([*batch, *shape])
    except ValueError as error:
        raise Refused(
            f"'{spec.name}' cannot be brought into shape {_dims(shape)}: {error}"
        ) from error


def unknown(model: str, version: str) -> str:
    named = f"'{model}' version {version}" if version else f"'{model}'"
    return f"Request for unknown model: {named} is not found"


def _raw_inference(config: ModelConfig, body: memoryview) -> Inference:
    """A body that is one tensor and nothing else; all but one of its sizes must be known."""
    if len(config.inputs) != 1:
        raise Refused(
            f"raw binary requests are for models with one input; '{config.name}' has {len(config.inputs)}"
        )
    spec = config.inputs[0]
    if spec.datatype == "BYTES":
        size = int.from_bytes(body[:4], "little") + 4
        if size != len(body):
            raise Refused(f"input '{spec.name}': a raw binary request takes one element of BYTES")
        shape = [1] * len(config.shape_of(spec))
    else:
        shape = [1, *spec.dims] if config.max_batch_size else list(spec.dims)
        if shape.count(-1) > 1:
            raise Refused(
                f"raw binary requests need a shape with at most one variable size; '{spec.name}' has "
                f"{_dims(shape)}"
            )
        known = math.prod(size for size in shape if size != -1) * DTYPES[spec.datatype].itemsize
        shape = [len(body) // max(known, 1) if size == -1 else size for size in shape]
    array = from_buffer(spec.name, spec.datatype, shape, body)
    return Inference(parameters={"binary_data_output": True}, inputs={spec.name: array})


def _file(folder: str, config: ModelConfig, usual: str) -> str:
    path = os.path.join(folder, config.file_name or usual)
    if not os.path.exists(path):
        raise ConfigError(
            f"version {os.path.basename(folder)} has no file {config.file_name or usual}"
        )
    return path


def _labels(folder: str, config: ModelConfig) -> dict[str, list[str]]:
    found = {}
    for spec in config.outputs:
        if spec.label_file:
            with open(os.path.join(folder, spec.label_file), encoding="utf-8") as file:
                found[spec.name] = file.read().splitlines()
    return found


def _described(model: Model) -> dict[str, Any]:
    config = model.config

    def tensors(specs: list[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {"name": spec.name, "datatype": spec.datatype, "shape": config.shape_of(spec)}
            for spec in specs
        ]

    return {
        "versions": list(model.versions),
        "metadata": {
            "name": config.name,
            "versions": list(model.versions),
            "platform": config.raw.get("platform") or _platform(config.backend),
            "inputs": tensors(config.inputs),
            "outputs": tensors(config.outputs),
        },
        "config": config.as_json(),
    }


def _platform(backend: str) -> str:
    return "onnxruntime_onnx" if backend == "onnxruntime" else backend


def _dims(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
