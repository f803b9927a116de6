"""When a model may be handed an array in place of a frame: only where its answers were seen to be the same.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

from inference_server.mlflow_signature import NUMBERS, Signature

# Their wrappers do nothing with a request beyond asking the library; MLflow's own checks can be left out.
STOCK = frozenset(
    (
        "mlflow.sklearn",
        "mlflow.xgboost",
        "mlflow.lightgbm",
        "mlflow.catboost",
        "mlflow.onnx",
        "mlflow.pytorch",
        "mlflow.tensorflow",
        "mlflow.statsmodels",
    )
)
TAKES_ARRAYS = ("mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm")
# They look at the names of columns, or run a function of the user's.
LOOKS_AT_NAMES = frozenset(("ColumnTransformer", "FunctionTransformer", "DictVectorizer"))
LIBRARIES = ("sklearn.", "xgboost.", "lightgbm.")
PROBE_ROWS = 16


def takes_arrays(
    loader: str, raw: Any, signature: Signature, predict: Callable[[Any], Any]
) -> bool:
    """Whether `predict` of an array gives what `predict` of the same frame gives; asks it both ways."""
    if loader not in TAKES_ARRAYS or not signature.is_numeric or not signature.is_named:
        return False
    if not _is_blind_to_names(raw, set(), signature.names):
        return False
    np: Any = importlib.import_module("numpy")
    pd: Any = importlib.import_module("pandas")
    random = np.random.default_rng(0)
    spread = random.normal(scale=3.0, size=(PROBE_ROWS, len(signature.names)))
    spread[0], spread[1] = 0.0, 1.0
    parts = {
        column.name: (
            np.rint(spread[:, place]) if column.kind in ("long", "integer") else spread[:, place]
        ).astype(NUMBERS[column.kind])
        for place, column in enumerate(signature.columns)
    }
    frame = pd.DataFrame(parts)
    array = np.asfortranarray(np.column_stack(list(parts.values())))
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            by_name, by_place = predict(frame), predict(array)
        except Exception:
            return False
    is_array = isinstance(by_name, np.ndarray) and isinstance(by_place, np.ndarray)
    same = is_array and by_name.dtype == by_place.dtype and by_name.shape == by_place.shape
    if same:
        # "not a number" equals nothing, itself included.
        with_nan = by_name.dtype.kind == "f"
        same = bool(np.array_equal(by_name, by_place, equal_nan=with_nan))
    if same:
        # Said for every array by what was fitted with a frame.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return bool(same)


def _is_blind_to_names(part: Any, seen: set[int], names: list[Any] | None = None) -> bool:
    """Whether the estimator and all within are a library's own, and none tells columns by name."""
    if id(part) in seen:
        return True
    seen.add(id(part))
    kind = type(part)
    if not kind.__module__.startswith(LIBRARIES) or kind.__name__ in LOOKS_AT_NAMES:
        return False
    held = getattr(part, "__dict__", {})
    if "_sklearn_output_config" in held:
        return False
    fitted = held.get("feature_names_in_")
    if names is not None and fitted is not None and list(fitted) != names:
        return False
    return all(_is_blind_to_names(inner, seen) for inner in _estimators(held))


def _estimators(held: Any) -> list[Any]:
    """Everything with `predict` or `transform` among the values, lists and pairs included."""
    found: list[Any] = []
    waiting = list(held.values()) if isinstance(held, dict) else list(held)
    for value in waiting:
        if isinstance(value, (list, tuple, dict)):
            found += _estimators(value)
        elif hasattr(value, "predict") or hasattr(value, "transform"):
            found.append(value)
        elif callable(value) and not isinstance(value, type):
            # A function of the user's, such as a metric: who knows what it looks at.
            found.append(value)
    return found
