"""An MLflow model in a worker, served with no code of the user's: loading it, and its answer to a request.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13; MLflow is the environment's own.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from inference_server.alarm import ScoringTimeout
from inference_server.frames import INVOCATIONS
from inference_server.mlflow_answers import plain
from inference_server.mlflow_batches import joined, part, scores_by_row
from inference_server.mlflow_failures import cannot_load, cannot_run
from inference_server.mlflow_forms import UNWRAPPED, Csv, Table, Values, Whole, Wish, read_wish
from inference_server.mlflow_params import params_of
from inference_server.mlflow_schemas import input_schema, output_schema
from inference_server.mlflow_shortcuts import STOCK, takes_arrays
from inference_server.mlflow_signature import Signature
from inference_server.scoring_request import BadRequest, Request
from inference_server.scoring_script import Script
from inference_server.worker_log import log_tree

logger = logging.getLogger("azmlinfsrv")

# Nothing of what users deploy is told to anyone, and nobody is asked for what lies in the folder.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # Asked for who runs this: in a container, its number has no name.
    "LOGNAME": "portico",
}
# Where MLflow says what is wrong with the data, after the data itself.
SCHEMA_ERROR = "Error: "
COLUMN_ERROR = re.compile(
    r"Failed to convert column (.+?) to type '(.+?)'\. Error: '?(?:\w+\(['\"])?(.+?)(?:['\"]\))?'?$",
    re.DOTALL,
)
LONGEST_REASON = 1_000


class MlflowModel(Script):
    """Takes a scoring script's place in the worker: `init` loads the model, `run` asks it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.scoring_timeout_ms: int = options["scoring_timeout_ms"]
        self.name = "the model"
        self.app: Any = None
        self.is_raw = self.is_decorated = self.wants_headers = False
        self.max_batch: int = options.get("max_batch", 1)
        self.run_batch: Callable[..., Any] | None = None
        self.batch_wants_headers = False
        self.run = self._run
        self._folder: str = options["mlflow_folder"]
        self._inputs: list[dict[str, Any]] = []
        self._outputs: list[dict[str, Any]] = []
        self._params: list[dict[str, Any]] = []
        self._example_file = ""
        self._parse: Any = None

    def init(self, model_dir: str) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        logger.info("Loading the MLflow model in %s", self._folder)
        try:
            mlflow: Any = importlib.import_module("mlflow.pyfunc")
            self._model = mlflow.load_model(self._folder)
        except BaseException as error:
            logger.error("The model could not be loaded")
            logger.error("Encountered Exception %s", traceback.format_exc())
            log_tree(model_dir)
            raise cannot_load(error, self._folder) from error
        try:
            self._learn()
        except Exception as error:
            logger.error("Encountered Exception %s", traceback.format_exc())
            raise cannot_run(error) from error
        logger.info("The model is loaded%s", ", and takes arrays" if self._takes_arrays else "")

    def description(self) -> dict[str, Any]:
        """What the I/O process must know: what to send along, and the schemas for swagger."""
        return {
            "pid": os.getpid(),
            "is_raw": False,
            "wants_headers": False,
            "max_batch": self.max_batch if self.run_batch is not None else 1,
            "swagger_versions": ["2.0", "3.0", "3.1"],
            "input_schema": input_schema(
                self._inputs, self._params, self._folder, self._example_file
            ),
            "output_schema": output_schema(self._outputs),
        }

    def arguments(self, request: Request) -> dict[str, Any]:
        """What `run` takes: the data as the model wants it. Raises BadRequest for all that is wrong with it."""
        wish = read_wish(request, self._names)
        if isinstance(wish.data, Whole):
            known = {one["name"] for one in self._params}
            params = {name: value for name, value in wish.data.values.items() if name in known}
            data = {name: value for name, value in wish.data.values.items() if name not in known}
            return {"data": data, "params": params, "is_checked": False, "is_wrapped": False}
        params = params_of(wish.params, self._params)
        data, is_checked = self._checked(wish)
        return {
            "data": data,
            "params": params,
            "is_checked": is_checked,
            "is_wrapped": bool(request.flags & INVOCATIONS),
        }

    def _run(self, data: Any, params: dict[str, Any], is_checked: bool, is_wrapped: bool) -> Any:
        if not is_checked:
            found = self._by_mlflow(data, params)
        elif self._takes_params:
            found = self._predict(data, params=params)
        else:
            found = self._predict(data)
        return _wrapped(plain(found), is_wrapped=is_wrapped)

    def batch_input(self, request: Request) -> Any:
        return self.arguments(request)

    def _run_batch(self, inputs: list[Any]) -> list[Any]:
        """The answers to `inputs`, each what `arguments` gave; those that cannot share a call are run alone."""
        shares = [one["is_checked"] and self._is_whole_table(one["data"]) for one in inputs]
        tables = [one["data"] for one, is_shared in zip(inputs, shares) if is_shared]  # noqa: B905
        if len(tables) < 2:
            return [self._run_alone(one) for one in inputs]
        found = self._predict(joined(tables))
        if len(found) != sum(map(len, tables)):
            raise ValueError(f"{self.name} gave {len(found)} rows for {sum(map(len, tables))}")
        answers: list[Any] = []
        place = 0
        for one, is_shared in zip(inputs, shares):  # noqa: B905 - Python 3.8 has no strict
            if not is_shared:
                answers.append(self._run_alone(one))
                continue
            until = place + len(one["data"])
            answer = plain(part(found, place, until))
            answers.append(_wrapped(answer, is_wrapped=one["is_wrapped"]))
            place = until
        return answers

    def _is_whole_table(self, data: Any) -> bool:
        """Whether it is what was tried: a frame without some columns is another one."""
        if self._takes_arrays or self._signature.tensors:
            return not hasattr(data, "columns")
        return len(data.columns) == len(self._signature.names)

    def _run_alone(self, one: dict[str, Any]) -> Any:
        try:
            return self._run(**one)
        except ScoringTimeout:
            raise
        except Exception as error:
            return error

    def _checked(self, wish: Wish) -> tuple[Any, bool]:
        """The data, and whether the model can be asked directly, without MLflow's own checks."""
        if self._is_by_hint:
            # The model's own type hints say what it takes; MLflow turns the values into that.
            return self._as_hinted(wish), False
        if self._takes_arrays:
            array = self._signature.matrix(wish.data, wish.field)
            if array is not None:
                return array, True
        if self._parse is not None and wish.sent is not None:
            return self._as_parsed(wish.sent), False
        return self._signature.enforce(wish.data, wish.field), self._is_stock

    def _as_parsed(self, sent: dict[str, Any]) -> Any:
        """What MLflow's own server makes of the data: only it knows lists, objects and maps within columns."""
        exceptions: Any = sys.modules["mlflow.exceptions"]
        try:
            return self._parse(sent, self._model.metadata.get_input_schema())
        except exceptions.MlflowException as error:
            raise BadRequest(400, _told(error)) from error

    def _as_hinted(self, wish: Wish) -> Any:
        data = wish.data
        if isinstance(data, Csv):
            raise BadRequest(415, "This model takes no tables. Send JSON.")
        if isinstance(data, Table):
            names = data.columns or range(len(data.rows[0]) if data.rows else 0)
            return [dict(zip(names, row)) for row in data.rows]  # noqa: B905 - Python 3.8
        return data.values if isinstance(data, Values) else [data.values]

    def _by_mlflow(self, data: Any, params: dict[str, Any]) -> Any:
        try:
            if params:
                return self._model.predict(data, params=params)
            return self._model.predict(data)
        except Exception as error:
            reason = _schema_error(error)
            if reason:
                raise BadRequest(400, reason) from error
            raise

    def _learn(self) -> None:
        """From the model's description: signature, parameters, and the shortest safe way to ask it."""
        metadata = self._model.metadata
        signature = getattr(metadata, "signature", None)
        self._inputs = _listed(signature, "inputs")
        self._outputs = _listed(signature, "outputs")
        self._params = _listed(signature, "params")
        self._signature = Signature(self._inputs)
        self._names = frozenset(map(str, self._signature.names))
        saved = getattr(metadata, "saved_input_example_info", None) or {}
        self._example_file = saved.get("serving_input_path") or saved.get("artifact_path") or ""
        self._is_by_hint = bool(
            getattr(metadata, "_is_signature_from_type_hint", bool)()
            or getattr(metadata, "_is_type_hint_from_example", bool)()
        )
        flavor = metadata.flavors["python_function"]
        loader = flavor.get("loader_module", "")
        self._is_stock = loader in STOCK and self._signature.is_plain and not self._is_by_hint
        is_open = not self._inputs and loader not in STOCK
        if is_open:
            self._names = UNWRAPPED
        self._parse = _parser() if is_open or not self._signature.is_plain else None
        inner = self._model._model_impl
        # MLflow's wrapper of a stock flavor, or in old versions the library's own object.
        predict: Any = getattr(inner, flavor.get("predict_fn") or "predict", None)
        self._predict = predict
        self._is_stock = self._is_stock and callable(predict)
        self._takes_params = bool(self._params) and _accepts_params(self._predict)
        raw = _raw_model(inner)
        self._takes_arrays = (
            self._is_stock
            and not self._params
            and takes_arrays(loader, raw, self._signature, predict)
        )
        if self.max_batch > 1:
            self._learn_micro_batches()

    def _learn_micro_batches(self) -> None:
        is_sure = (
            self._is_stock
            and not self._params
            and scores_by_row(self._predict, self._signature, as_array=self._takes_arrays)
        )
        if is_sure:
            self.run_batch = self._run_batch
            logger.info("Micro-batches: up to %s waiting requests share a call", self.max_batch)
        else:
            logger.warning(
                "No micro-batches: a row's answer was not seen to be the same with others beside it"
            )


def _wrapped(answer: Any, *, is_wrapped: bool) -> Any:
    return {"predictions": answer} if is_wrapped else answer


def _listed(signature: Any, half: str) -> list[dict[str, Any]]:
    found = getattr(signature, half, None)
    return list(found.to_dict()) if found is not None else []


def _parser() -> Any:
    """MLflow's reading of a body; None in versions before 2, whose columns are plain."""
    try:
        server: Any = importlib.import_module("mlflow.pyfunc.scoring_server")
    except ImportError:
        return None
    return getattr(server, "infer_and_parse_data", None)


def _accepts_params(predict: Any) -> bool:
    try:
        return "params" in inspect.signature(predict).parameters
    except (TypeError, ValueError):
        return False


def _raw_model(inner: Any) -> Any:
    """The library's own model within MLflow's wrapper."""
    for name in ("sklearn_model", "xgb_model", "lgb_model"):
        if hasattr(inner, name):
            return getattr(inner, name)
    return inner


def _schema_error(error: Exception) -> str:
    """What MLflow's check of the data found; empty when the model itself failed."""
    exceptions: Any = sys.modules.get("mlflow.exceptions")
    if exceptions is None or not isinstance(error, exceptions.MlflowException):
        return ""
    text = str(error)
    is_schema = (
        "Failed to enforce" in text
        or "Model is missing inputs" in text
        or "Incompatible input types" in text
        or "Failed to validate" in text
        or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"
    )
    return _told(error) if is_schema else ""


def _told(error: Exception) -> str:
    """Its words without the data, which may be long and which the caller has; the column stays named."""
    text = str(error)
    column = COLUMN_ERROR.search(text)
    if column is not None:
        text = f"The column {column[1]} does not become {column[2]}: {column[3]}"
    else:
        text = text.rpartition(SCHEMA_ERROR)[2]
    return text[:LONGEST_REASON]
