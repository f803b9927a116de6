"""What a model returned, as plain values that JSON can carry.

Not-a-number and infinities become null: JSON has no word for them. Runs in the deployment's interpreter.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A list for an array, a list of objects for a frame or series, an object for a mapping: as MLflow's own server."""
    np: Any = sys.modules["numpy"]
    pd: Any = sys.modules["pandas"]
    if isinstance(value, np.ndarray):
        return _array(value, np)
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return _frame(value if isinstance(value, pd.DataFrame) else pd.DataFrame(value), np)
    return _value(value)


def _array(value: Any, np: Any) -> Any:
    if value.dtype.kind in "biu":
        return value.tolist()
    if value.dtype.kind == "f" and np.isfinite(value).all():
        return value.tolist()
    if value.dtype.kind in "mM":
        return _value(value.astype("datetime64[us]" if value.dtype.kind == "M" else str).tolist())
    return _value(value.tolist())


def _frame(value: Any, np: Any) -> list[dict[str, Any]]:
    if value.columns.nlevels > 1:
        names = ["_".join(map(str, name)) for name in value.columns]
    else:
        names = [str(name) for name in value.columns]
    columns = [_array(value.iloc[:, place].to_numpy(), np) for place in range(len(names))]
    return [dict(zip(names, row)) for row in zip(*columns)]  # noqa: B905 - Python 3.8 has no strict


def _value(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, Iterator)):
        return [_value(inner) for inner in value]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        # pandas' word for no date is a datetime as well.
        return value.isoformat() if value == value else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, decimal.Decimal):
        return float(value) if value.is_finite() else None
    return _foreign(value)


def _foreign(value: Any) -> Any:
    """Values of libraries, by what they can do."""
    np: Any = sys.modules["numpy"]
    pd: Any = sys.modules["pandas"]
    if isinstance(value, (pd.Series, pd.Index)):
        return _array(value.to_numpy(), np)
    if isinstance(value, (np.ndarray, pd.DataFrame)):
        return plain(value)
    if isinstance(value, np.generic):
        return _array(value, np)
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return plain(value.detach().cpu().numpy())
    if hasattr(value, "toarray"):
        return plain(value.toarray())
    for name in ("model_dump", "to_dict", "numpy"):
        turn = getattr(value, name, None)
        if callable(turn):
            return plain(turn())
    if value is pd.NaT or value is getattr(pd, "NA", None):
        return None
    raise TypeError(f"The model returned a {type(value).__name__}, which JSON cannot carry.")
