"""Micro-batches of an MLflow model: the rows of waiting requests scored in one call, where that changes no answer.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13; numpy and pandas are the model's own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

from inference_server.mlflow_signature import NUMBERS, Signature

PROBE_ROWS = 8
# Sums of the same numbers in blocks of another size may differ in the last digits.
TOLERANCE = {8: 1e-9, 4: 1e-4}


def scores_by_row(predict: Callable[[Any], Any], signature: Signature, *, as_array: bool) -> bool:
    """Whether each row's answer is the same with other rows beside it; asks the model both ways.

    False for what cannot be tried: columns that are not numbers, tensors of which more than the rows is open.
    """
    data = _probe(signature, as_array=as_array)
    if data is None:
        return False
    np: Any = importlib.import_module("numpy")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            together = predict(data)
            alone = [predict(part(data, row, row + 1)) for row in range(PROBE_ROWS)]
        except Exception:
            return False
    if not _is_rows(together, PROBE_ROWS, np) or not all(_is_rows(one, 1, np) for one in alone):
        return False
    return all(_is_same(part(together, row, row + 1), one, np) for row, one in enumerate(alone))


def joined(parts: list[Any]) -> Any:
    """The rows of all parts in one: arrays or frames, as `part` cuts them."""
    np: Any = importlib.import_module("numpy")
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    pd: Any = importlib.import_module("pandas")
    return pd.concat(parts, ignore_index=True)


def part(rows: Any, begin: int, end: int) -> Any:
    return rows.iloc[begin:end] if hasattr(rows, "iloc") else rows[begin:end]


def _probe(signature: Signature, *, as_array: bool) -> Any:
    """Rows as unlike each other as random numbers are, in the form in which requests will come."""
    np: Any = importlib.import_module("numpy")
    random = np.random.default_rng(1)
    if signature.tensors:
        first = signature.tensors[0]
        shape = first.shape
        if len(signature.tensors) > 1 or first.name or first.dtype.kind not in "fiu":
            return None
        if len(shape) < 2 or shape[0] != -1 or -1 in shape[1:]:
            return None
        return random.integers(0, 9, (PROBE_ROWS, *shape[1:])).astype(first.dtype)
    if not signature.is_numeric:
        return None
    pd: Any = importlib.import_module("pandas")
    columns = {
        column.name: random.integers(0, 9, PROBE_ROWS).astype(NUMBERS[column.kind])
        for column in signature.columns
    }
    if as_array:
        return np.asfortranarray(np.column_stack(list(columns.values())))
    return pd.DataFrame(columns)


def _is_rows(answer: Any, count: int, np: Any) -> bool:
    """Whether it is an array or a frame with so many rows."""
    is_table = isinstance(answer, np.ndarray) or type(answer).__name__ == "DataFrame"
    return is_table and len(getattr(answer, "shape", ())) > 0 and len(answer) == count


def _is_same(one: Any, other: Any, np: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    near = TOLERANCE.get(one.dtype.itemsize, 0.0)
    return bool(np.allclose(one, other, rtol=near, atol=near, equal_nan=True))
