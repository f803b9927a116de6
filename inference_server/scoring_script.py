"""The user's scoring script in a worker: loading it, its init(), and what its run() wants.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from inference_server.frames import FORM_BODY, GET
from inference_server.scoring_request import BadRequest, Request, json_object
from inference_server.start_failure import (
    CannotStart,
    error_file,
    evidence_of,
    missing_module,
    sentence,
)
from inference_server.unpickling import why_unreadable
from inference_server.worker_log import log_tree

logger = logging.getLogger("azmlinfsrv")
script_logger = logging.getLogger("azmlinfsrv.user_script")


class Script:
    """The user's scoring script, and how its run() wants to be called."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.scoring_timeout_ms: int = options["scoring_timeout_ms"]
        sys.path.append(options["app_root"])
        if options.get("source_dir"):
            sys.path.append(os.path.join(options["app_root"], options["source_dir"]))
        sys.path.append(options["shims"])
        module = load_module(options["app_root"], options.get("entry_script"))
        self.name = os.path.basename(getattr(module, "__file__", None) or "the scoring script")
        for function in ("init", "run"):
            if not hasattr(module, function):
                raise CannotStart(
                    "UserScriptFunctionNotFound", f"{self.name} has no {function}() function"
                )
        self._init: Callable[[], Any] = module.init
        # Generated driver scripts wrap the real one, and do not hand arguments on properly.
        driven = getattr(module, "driver_module", None)
        inner = isinstance(driven, ModuleType) and hasattr(driven, "run")
        self.run: Callable[..., Any] = driven.run if inner else module.run  # type: ignore[union-attr]
        script_logger.info("Found user script at %s", getattr(module, "__file__", "?"))
        self._learn_signature()
        self.max_batch: int = options["max_batch"]
        self.run_batch: Callable[..., Any] | None = None
        self.batch_wants_headers = False
        self._learn_batches(driven if inner else module)
        self.app: Any = None

    def init(self, model_dir: str) -> None:
        script_logger.info("Invoking user's init function")
        try:
            self._init()
        except BaseException as error:
            logger.error("User's init function failed")
            logger.error("Encountered Exception %s", traceback.format_exc())
            log_tree(model_dir)
            unreadable = why_unreadable(error)
            if unreadable:
                raise CannotStart("ModelLoadFailed", unreadable, evidence_of(error)) from error
            missing = missing_module(error)
            cause = (
                f"needs {missing}, which is not in the environment"
                if missing
                else f"raised {sentence(error)}"
            )
            raise CannotStart(
                "UserScriptInitFailed", f"init() {cause}", evidence_of(error)
            ) from error
        script_logger.info("Users's init has completed successfully")
        flask = sys.modules.get("flask")
        if flask is not None or self.is_raw:
            flask = flask or importlib.import_module("flask")
            # flask.request, jsonify() and the like need an application around the call.
            self.app = flask.Flask("azmlinfsrv")

    def description(self) -> dict[str, Any]:
        """What the I/O process must know: what to send along, and the schemas for swagger."""
        decorated = self.schema is not None and self.is_decorated
        placeholder = {"type": "object", "example": {}}
        schema = self.schema
        return {
            "pid": os.getpid(),
            "is_raw": self.is_raw,
            "wants_headers": self.wants_headers
            or self.batch_wants_headers
            or self.app is not None,
            "max_batch": self.max_batch if self.run_batch is not None else 1,
            "swagger_versions": schema.get_supported_versions(self.run)
            if schema
            else ["2.0", "3.0", "3.1"],
            "input_schema": schema.get_input_schema(self.run)
            if decorated and schema
            else placeholder,
            "output_schema": schema.get_output_schema(self.run)
            if decorated and schema
            else placeholder,
        }

    def arguments(self, request: Request) -> dict[str, Any]:
        """The keyword arguments of run(); raises BadRequest in the contract's words."""
        if self.is_decorated:
            found = request.query_arguments() if request.method == GET else json_object(request)
            return {parameter.name: self._value(parameter, found) for parameter in self.parameters}
        if request.method == GET:
            return {self.parameters[0].name: json.dumps(request.query_arguments())}
        # The genuine server lets a form parser eat such a body before run() sees it.
        body: Any = b"" if request.flags & FORM_BODY else request.body
        try:
            return {self.parameters[0].name: str(body, "utf-8")}
        except UnicodeDecodeError as error:
            raise BadRequest(400, f"Input cannot be decoded as UTF-8: {error}") from None

    def batch_input(self, request: Request) -> Any:
        """What run_batch() gets of a request: what run() would, or by name if that has a schema."""
        arguments = self.arguments(request)
        return arguments if self.is_decorated else arguments[self.parameters[0].name]

    def time_left_ms(self, request: Request) -> int:
        """What a call for this request may take now; not above zero if its time is over."""
        if request.limit_ms >= self.scoring_timeout_ms:
            return request.limit_ms  # the limit of one call, not of the request
        waited_ms = (time.monotonic() - request.received) * 1000
        return request.limit_ms - int(waited_ms)

    @staticmethod
    def _value(parameter: inspect.Parameter, found: dict[str, Any]) -> Any:
        value = found.get(parameter.name, parameter.default)
        if value is inspect.Parameter.empty:
            raise BadRequest(400, f"A value is not provided for the {parameter.name!r} parameter.")
        return value

    def _learn_signature(self) -> None:
        parameters = list(inspect.signature(self.run).parameters.values())
        keyword_kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if any(parameter.kind not in keyword_kinds for parameter in parameters):
            self._refuse("run() cannot accept positional-only arguments, *args, or **kwargs")
        self.wants_headers = any(parameter.name == "request_headers" for parameter in parameters)
        self.parameters = [
            parameter for parameter in parameters if parameter.name != "request_headers"
        ]
        if not self.parameters:
            other = ' other than "request_headers"' if self.wants_headers else " for input data"
            self._refuse(f"run() needs to accept an argument{other}")
        self.schema = sys.modules.get("inference_schema.schema_util")
        self.is_decorated = bool(self.schema and self.schema.is_schema_decorated(self.run))
        self.is_raw = any(
            getattr(sys.modules.get(name), "_rawHttpRequested", False)
            for name in (
                "azureml_inference_server_http.api.aml_request",
                "azureml.contrib.services.aml_request",
            )
        )
        if self.is_raw and self.is_decorated:
            self._refuse("run() cannot be decorated with both @rawhttp and @input_schema")

    def _learn_batches(self, module: ModuleType | None) -> None:
        """Micro-batching is on if the script offers `run_batch(inputs)` beside run()."""
        found = getattr(module, "run_batch", None)
        if not callable(found) or self.max_batch < 2:
            return
        names = set(inspect.signature(found).parameters)
        if "inputs" not in names or names - {"inputs", "request_headers"}:
            # Most likely a function for another purpose that happens to have this name.
            script_logger.warning(
                "run_batch() is not used for micro-batches: it takes %s instead of (inputs) or "
                "(inputs, request_headers)",
                inspect.signature(found),
            )
        elif self.is_raw:
            script_logger.warning("run_batch() is not used for micro-batches: run() is @rawhttp")
        else:
            self.run_batch = found
            self.batch_wants_headers = "request_headers" in names
            script_logger.info(
                "Micro-batches: run_batch() is called for up to %s waiting requests",
                self.max_batch,
            )

    def _refuse(self, reason: str) -> NoReturn:
        raise CannotStart("UserScriptFunctionNotFound", f"{self.name}: {reason}")


def load_module(app_root: str, entry_script: str | None) -> ModuleType:
    path = os.path.join(app_root, entry_script or "main.py")
    if not os.path.isfile(path):
        raise CannotStart("UserScriptImportError", missing_script(path))
    name = "entry_module" if entry_script else "main"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotStart(
            "UserScriptImportError", f"{os.path.basename(path)} is not a Python file"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        logger.error("Encountered Exception %s", traceback.format_exc())
        missing = missing_module(error)
        where = os.path.basename(error_file(error) or path)
        if missing:
            message = f"{where} imports {missing}, which is not in the environment"
        else:
            message = f"{os.path.basename(path)} raised {sentence(error)} while it was imported"
        raise CannotStart("UserScriptImportError", message, evidence_of(error)) from error
    return module


def missing_script(path: str) -> str:
    folder = os.path.dirname(path)
    try:
        others = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:
        return f"{path} does not exist, nor does its folder"
    found = "has " + ", ".join(others[:20]) if others else "has no .py file"
    return f"{os.path.basename(path)} does not exist; the folder {folder} {found}"
