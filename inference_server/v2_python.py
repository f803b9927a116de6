"""A model of Triton's Python backend: `model.py` with a class TritonPythonModel.

Runs in the deployment's interpreter, which must have numpy; Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from inference_server.v2_config import ConfigError, ModelConfig, TensorSpec, datatype_of
from inference_server.v2_ensemble import Call
from inference_server.v2_tensors import Inference, Refused, Wanted

CLASS = "TritonPythonModel"
Knows = Callable[[str, str], bool]
"""Whether a model, by name and version, is loaded; an empty version is any."""

logger = logging.getLogger("azmlinfsrv")


class PythonModel:
    """One version, its class made and initialised."""

    def __init__(self, path: str, config: ModelConfig, call: Call, knows: Knows) -> None:
        self._name = config.name
        self._folder = os.path.dirname(path)
        self._version = os.path.basename(self._folder)
        self._utils: Any = importlib.import_module("triton_python_backend_utils")
        self._utils.connect(self._ask, knows)
        self._call = call
        kind = getattr(self._load(path), CLASS, None)
        if kind is None:
            raise ConfigError(f"{os.path.basename(path)} has no class {CLASS}")
        self._complete(config, kind)
        if config.raw.get("model_transaction_policy", {}).get("decoupled"):
            raise ConfigError("decoupled models, which answer more than once, need Triton itself")
        self._model = kind()
        self._utils.enter(self._folder)
        if hasattr(self._model, "initialize"):
            self._model.initialize(
                {
                    "model_config": json.dumps(config.as_json()),
                    "model_instance_kind": "CPU",
                    "model_instance_name": f"{config.name}_0_0",
                    "model_instance_device_id": "0",
                    "model_repository": os.path.dirname(self._folder),
                    "model_version": self._version,
                    "model_name": config.name,
                }
            )
        if not callable(getattr(self._model, "execute", None)):
            raise ConfigError(f"its class {CLASS} has no execute()")

    def run(self, inputs: dict[str, Any], wanted: list[str], request: Inference) -> dict[str, Any]:
        utils = self._utils
        given = utils.InferenceRequest(
            inputs=[utils.Tensor(name, array) for name, array in inputs.items()],
            requested_output_names=wanted,
            request_id=request.id,
            model_name=self._name,
            model_version=int(self._version),
            parameters=request.parameters,
        )
        utils.enter(self._folder)
        try:
            responses = self._model.execute([given])
        except TimeoutError:
            raise
        except Exception as error:
            logger.error("Encountered Exception: %s", traceback.format_exc())
            raise Refused(
                f"Failed to process the request(s) for model '{self._name}', message: "
                f"{type(error).__name__}: {error}",
                500,
            ) from error
        if not isinstance(responses, (list, tuple)) or len(responses) != 1 or responses[0] is None:
            raise Refused(
                f"execute() of model '{self._name}' must return a list with one InferenceResponse for each "
                "request",
                500,
            )
        response = responses[0]
        if response.has_error():
            raise Refused(response.error().message(), 500)
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    def _load(self, path: str) -> Any:
        # Models may have modules of one name each; those beside model.py are found as in Triton.
        for folder in (self._folder, os.path.dirname(self._folder)):
            if folder not in sys.path:
                sys.path.append(folder)
        name = f"triton_model_{self._name}_{self._version}".replace("-", "_").replace(".", "_")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{os.path.basename(path)} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _complete(self, config: ModelConfig, kind: Any) -> None:
        """Inputs and outputs that only the class itself tells."""
        complete = getattr(kind, "auto_complete_config", None)
        if config.inputs and config.outputs:
            return
        if complete is None:
            raise ConfigError(
                "a Python model needs a config.pbtxt with input and output, or auto_complete_config()"
            )
        found = complete(self._utils.ModelConfig(config.as_json())).as_dict()
        config.max_batch_size = int(found.get("max_batch_size", 0))
        for key, specs in (("input", config.inputs), ("output", config.outputs)):
            known = {spec.name for spec in specs}
            specs += [
                TensorSpec(
                    str(one["name"]),
                    datatype_of(str(one["data_type"])),
                    [int(size) for size in one["dims"]],
                    is_optional=bool(one.get("optional", False)),
                )
                for one in found.get(key, [])
                if one["name"] not in known
            ]

    def _ask(self, asked: Any) -> Any:
        """A request that a Python model makes to another model of the repository."""
        version = int(asked.model_version)
        inference = Inference(
            id=asked.request_id(),
            inputs={tensor.name(): tensor.as_numpy() for tensor in asked.inputs()},
            wanted=[Wanted(name) for name in asked.requested_output_names()],
        )
        utils = self._utils
        try:
            found = self._call(asked.model_name, str(version) if version > 0 else "", inference)
        except Refused as error:
            return utils.InferenceResponse(error=utils.TritonError(error.message))
        return utils.InferenceResponse(
            [utils.Tensor(name, array) for name, array in found.items()]
        )
