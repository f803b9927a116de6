"""What a model's signature says of its input, and how what was sent becomes exactly that, or a clear refusal.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13; numpy and pandas are the model's own.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
from typing import Any, NamedTuple

from inference_server.mlflow_forms import Csv, Named, Table, Values
from inference_server.scoring_request import BadRequest

NUMBERS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
PLAIN = {*NUMBERS, "boolean", "string", "datetime", "binary"}
"""Column types that are checked here; arrays, objects and maps are left to MLflow."""
JSON_WORDS = {
    int: "a whole number",
    float: "a number with a fraction",
    bool: "true or false",
    str: "a text",
    type(None): "null",
    list: "a list",
    dict: "an object",
}
TAKES: dict[str, tuple[set[type], str]] = {
    "double": ({int, float, type(None)}, "numbers"),
    "float": ({int, float, type(None)}, "numbers"),
    "long": ({int}, "whole numbers"),
    "integer": ({int}, "whole numbers"),
    "boolean": ({bool, type(None)}, "true or false"),
    "string": ({str, type(None)}, "texts"),
    "datetime": ({str, type(None)}, "dates as ISO 8601 texts"),
    "binary": ({str, type(None)}, "base64 texts"),
}


class Column(NamedTuple):
    """One column. `name` is its place when the signature names none; `kind` is empty for what is not plain."""

    name: Any
    kind: str
    is_required: bool


class Tensor(NamedTuple):
    """One tensor; -1 in `shape` is any length. `name` is empty when the signature names none."""

    name: str
    dtype: Any
    shape: tuple[int, ...]


class Signature:
    """The input half of a model's signature; no columns and no tensors mean that there is none."""

    def __init__(self, inputs: list[dict[str, Any]]) -> None:
        self._np: Any = importlib.import_module("numpy")
        self._pd: Any = importlib.import_module("pandas")
        self.tensors = [self._tensor(one) for one in inputs if one.get("type") == "tensor"]
        self.columns = [
            _column(one, place) for place, one in enumerate(inputs) if one.get("type") != "tensor"
        ]
        self.is_named = bool(inputs) and all(one.get("name") for one in inputs)
        self.names = [column.name for column in self.columns] or [t.name for t in self.tensors]
        self.is_plain = all(column.kind in PLAIN for column in self.columns)
        kinds = {column.kind for column in self.columns}
        self.is_numeric = bool(kinds) and kinds <= set(NUMBERS)
        self._has_one_float = len(kinds) == 1 and kinds <= {"double", "float"}
        # Older ones guess the format of each value; newer ones, of the first, and refuse others after it.
        is_old = int(str(self._pd.__version__).split(".")[0]) < 2
        self._iso = {} if is_old else {"format": "ISO8601"}
        self._place_of = {name: place for place, name in enumerate(self.names)}

    def matrix(self, data: Any, field: str) -> Any:
        """All columns in the signature's order as one array; None where only a frame can say it.

        For numeric signatures. It lies in memory column by column, as a frame does: sums of the same numbers in
        another order differ in the last digit. Raises BadRequest, as `enforce` does for the same data.
        """
        table = self._as_table(data, field)
        if table is None or not table.rows:
            return None
        if table.columns == self.names:
            rows = table.rows
        else:
            self._check_names(table.columns or [], field)
            places = {name: place for place, name in enumerate(table.columns or [])}
            if any(name not in places for name in self.names):
                return None
            order = [places[name] for name in self.names]
            rows = [[row[place] for place in order] for row in table.rows]
        if self._has_one_float:
            kinds: set[type] = set()
            for row in rows:
                kinds.update(map(type, row))
            if kinds <= TAKES["double"][0]:
                try:
                    return self._np.array(rows, dtype=NUMBERS[self.columns[0].kind], order="F")
                except OverflowError:
                    raise BadRequest(400, f"{field} has a number that is too large.") from None
        parts = [
            self._typed(column, list(values), field)
            for column, values in zip(self.columns, zip(*rows))  # noqa: B905 - Python 3.8 has no strict
        ]
        return self._np.asfortranarray(self._np.column_stack(parts))

    def enforce(self, data: Any, field: str) -> Any:
        """What the model takes: a frame, an array, or arrays by name. Raises BadRequest."""
        if isinstance(data, Csv):
            return self._from_csv(data)
        if self.tensors:
            return self._arrays(data, field)
        if self.columns:
            return self._frame(data, field)
        return self._as_sent(data, field)

    def _as_sent(self, data: Any, field: str) -> Any:
        if isinstance(data, Table):
            return self._pd.DataFrame(data.rows, columns=data.columns, index=data.labels)
        try:
            if isinstance(data, Named):
                return {name: self._np.array(value) for name, value in data.values.items()}
            return self._np.array(data.values)
        except ValueError:
            raise BadRequest(400, _ragged(field)) from None

    def _frame(self, data: Any, field: str) -> Any:
        table = self._as_table(data, field)
        if table is None:
            raise BadRequest(
                400,
                f"{field} must be a table for this model: "
                f'{{"columns": {self._shown_names()}, "data": [[...], ...]}}.',
            )
        if not table.rows:
            raise BadRequest(400, f"{field} has no rows. Give at least one.")
        columns = table.columns or []
        self._check_names(columns, field)
        by_name = dict(zip(columns, zip(*table.rows)))  # noqa: B905 - Python 3.8 has no strict
        found = {
            column.name: self._typed(column, list(by_name[column.name]), field)
            for column in self.columns
            if column.name in by_name
        }
        return self._pd.DataFrame(found, index=table.labels)

    def _as_table(self, data: Any, field: str) -> Table | None:
        """Rows with the signature's names where they carry none; None when the data is no table."""
        if isinstance(data, Named):
            return self._of_named(data.values, field)
        if isinstance(data, Values):
            return self._of_values(data.values, field)
        if not isinstance(data, Table):
            return None
        if data.columns is not None and self.is_named:
            return data
        width = len(data.columns) if data.columns else len(data.rows[0]) if data.rows else 0
        return Table(self._names_for(width, field), data.rows, data.labels)

    def _of_named(self, values: dict[str, Any], field: str) -> Table | None:
        if not self.is_named:
            return None
        lists = [value for value in values.values() if isinstance(value, list)]
        if len(lists) != len(values) or not self.is_plain:
            # A lone row; a list in it is one value.
            return Table(list(values), [list(values.values())], None) if values else None
        lengths = {len(value) for value in lists}
        if len(lengths) > 1:
            raise BadRequest(
                400,
                f"The columns of {field} have different lengths: "
                + ", ".join(f"{name} {len(value)}" for name, value in values.items()),
            )
        rows = [list(row) for row in zip(*lists)]  # noqa: B905 - Python 3.8 has no strict
        return Table(list(values), rows, None)

    def _of_values(self, values: Any, field: str) -> Table | None:
        if not isinstance(values, list):
            return Table(self._names_for(1, field), [[values]], None)
        if not values:
            return Table(list(self.names), [], None)
        if all(isinstance(row, list) for row in values):
            width = len(values[0])
            for place, row in enumerate(values):
                if len(row) != width:
                    raise BadRequest(
                        400, f"{field}[{place}] has {len(row)} values; {field}[0] has {width}."
                    )
            return Table(self._names_for(width, field), values, None)
        if len(self.columns) == 1:
            return Table(list(self.names), [[value] for value in values], None)
        return None

    def _names_for(self, width: int, field: str) -> list[Any]:
        """The signature's names for rows that carry none."""
        needed = [column for column in self.columns if column.is_required]
        enough = width >= len(needed) if not self.is_named else width == len(self.columns)
        if not enough:
            raise BadRequest(
                400,
                f"{field} has rows of {width} values; the model takes {len(self.columns)} columns: "
                f"{self._shown_names()}.",
            )
        return [*self.names[:width], *range(len(self.names), width)]

    def _check_names(self, columns: list[Any], field: str) -> None:
        missing = [
            str(column.name)
            for column in self.columns
            if column.is_required and column.name not in columns
        ]
        if missing:
            word = "column" if len(missing) == 1 else "columns"
            extra = [str(name) for name in columns if name not in self._place_of]
            also = f" Not known to the model: {', '.join(extra[:10])}." if extra else ""
            raise BadRequest(
                400,
                f"{field} lacks the {word} {', '.join(missing[:20])}. The model takes "
                f"{self._shown_names()}.{also}",
            )
        twice = {str(name) for name in columns if columns.count(name) > 1}
        if twice:
            raise BadRequest(400, f"{field} names a column twice: {', '.join(sorted(twice))}.")

    def _typed(self, column: Column, values: list[Any], field: str) -> Any:
        """The values as the signature wants them; whole numbers pass as numbers, never the other way."""
        if column.kind not in PLAIN:
            return values
        allowed, wanted = TAKES[column.kind]
        kinds = set(map(type, values))
        if not kinds <= allowed:
            place = next(p for p, value in enumerate(values) if type(value) not in allowed)
            raise BadRequest(
                400,
                f"{field}: the column {column.name} takes {wanted} ({column.kind}); row {place} has "
                f"{_words(values[place])}.",
            )
        if column.kind in NUMBERS:
            return self._numbers(column, values, field)
        if column.kind == "boolean":
            return self._np.array(values, dtype=object if type(None) in kinds else bool)
        if column.kind == "datetime":
            return self._dates(column, values, field)
        if column.kind == "binary":
            return [_decoded(value, column, field) for value in values]
        return values

    def _numbers(self, column: Column, values: list[Any], field: str) -> Any:
        dtype = self._np.dtype(NUMBERS[column.kind])
        try:
            if dtype.kind == "i":
                limits = self._np.iinfo(dtype)
                if min(values) < limits.min or max(values) > limits.max:
                    raise OverflowError
            return self._np.array(values, dtype=dtype)
        except OverflowError:
            raise BadRequest(
                400, f"{field}: the column {column.name} has a number beyond {column.kind}."
            ) from None

    def _dates(self, column: Column, values: list[Any], field: str) -> Any:
        try:
            found = self._pd.to_datetime(
                self._pd.Series(values, dtype=object), utc=True, **self._iso
            )
        except (ValueError, TypeError):
            raise BadRequest(
                400,
                f"{field}: the column {column.name} takes dates as ISO 8601 texts, such as "
                "2024-05-01T12:00:00.",
            ) from None
        return found.dt.tz_localize(None).astype("datetime64[ns]").to_numpy()

    def _arrays(self, data: Any, field: str) -> Any:
        if not self.is_named:
            return self._array(self.tensors[0], _only(data, field), field)
        if isinstance(data, Table):
            if data.columns is None:
                raise BadRequest(400, f"{field} must name its columns: {self._shown_names()}.")
            columns = {
                name: [row[place] for row in data.rows] for place, name in enumerate(data.columns)
            }
            return self._named_arrays(columns, field)
        if isinstance(data, Named):
            return self._named_arrays(data.values, field)
        if len(self.tensors) == 1:
            return self._named_arrays({self.tensors[0].name: data.values}, field)
        raise BadRequest(400, f"{field} must be an object of tensors: {self._shown_names()}.")

    def _named_arrays(self, values: dict[str, Any], field: str) -> dict[str, Any]:
        missing = [tensor.name for tensor in self.tensors if tensor.name not in values]
        if missing:
            raise BadRequest(
                400,
                f"{field} lacks {', '.join(missing)}. The model takes the tensors {self._shown_names()}.",
            )
        return {
            tensor.name: self._array(tensor, values[tensor.name], f"{field}.{tensor.name}")
            for tensor in self.tensors
        }

    def _array(self, tensor: Tensor, values: Any, field: str) -> Any:
        try:
            found = self._np.array(values)
        except (ValueError, OverflowError):
            raise BadRequest(400, _ragged(field)) from None
        if found.dtype == object and tensor.dtype != object:
            raise BadRequest(400, _ragged(field))
        if found.shape[:1] == (0,):
            raise BadRequest(400, f"{field} is empty. Give at least one row.")
        shape = tensor.shape
        is_table = found.ndim == 2 and len(shape) > 2 and -1 not in shape[1:]
        if is_table and int(self._np.prod(shape[1:])) == found.shape[1]:
            # Each row holds one flattened item.
            found = found.reshape((-1, *shape[1:]))
        fits = found.ndim == len(shape) and all(
            wanted in (-1, length)
            for wanted, length in zip(shape, found.shape)  # noqa: B905 - as above
        )
        if not fits:
            raise BadRequest(
                400,
                f"{field} has the shape {_shape(found.shape)}; the model takes {_shape(shape)}.",
            )
        return self._cast(found, tensor.dtype, field)

    def _cast(self, found: Any, dtype: Any, field: str) -> Any:
        if found.dtype == dtype or found.size == 0:
            return found.astype(dtype)
        kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "c": "iufc"}.get(dtype.kind)
        if kinds is not None and found.dtype.kind not in kinds:
            raise BadRequest(
                400, f"{field} has values of {found.dtype.name}; the model takes {dtype.name}."
            )
        if dtype.kind in "iu":
            limits = self._np.iinfo(dtype)
            if found.min() < limits.min or found.max() > limits.max:
                raise BadRequest(400, f"{field} has a number beyond {dtype.name}.")
        return found.astype(dtype)

    def _from_csv(self, data: Csv) -> Any:
        kinds = {"string": str, "double": "float64", "float": "float32"}
        dtypes = {c.name: kinds[c.kind] for c in self.columns if c.kind in kinds and self.is_named}
        try:
            frame = self._pd.read_csv(io.BytesIO(data.content), dtype=dtypes)
        except (ValueError, UnicodeDecodeError) as error:
            raise BadRequest(400, f"The CSV could not be read: {error}") from None
        if self.tensors:
            return self.enforce(Table(list(frame.columns), frame.values.tolist(), None), "the CSV")
        if not self.columns or not self.is_plain:
            return frame
        rows = frame.astype(object).where(frame.notna(), None).values.tolist()
        return self._frame(Table(list(frame.columns), rows, None), "the CSV")

    def _tensor(self, one: dict[str, Any]) -> Tensor:
        spec = one["tensor-spec"]
        return Tensor(
            one.get("name") or "", self._np.dtype(spec["dtype"]), tuple(map(int, spec["shape"]))
        )

    def _shown_names(self) -> str:
        named = [str(name) for name in self.names]
        more = f" and {len(named) - 20} more" if len(named) > 20 else ""
        return ", ".join(named[:20]) + more


def _column(one: dict[str, Any], place: int) -> Column:
    kind = one.get("type", "")
    is_required = bool(one.get("required", not one.get("optional", False)))
    return Column(one.get("name") or place, kind if kind in PLAIN else "", is_required)


def _only(data: Any, field: str) -> Any:
    """The one array that a model without names takes."""
    if isinstance(data, Table):
        return data.rows
    if isinstance(data, Values):
        return data.values
    if len(data.values) == 1:
        return next(iter(data.values.values()))
    raise BadRequest(400, f"{field} must be a list for this model: it takes one array.")


def _decoded(value: str | None, column: Column, field: str) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            400, f"{field}: the column {column.name} takes base64 texts (binary)."
        ) from None


def _words(value: Any) -> str:
    """The value in words, with itself where it is short."""
    shown = repr(value) if isinstance(value, (int, float, str)) else ""
    word = JSON_WORDS.get(type(value), type(value).__name__)
    return f"{word}, {shown[:40]}" if shown and not isinstance(value, bool) else word


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join("any" if one == -1 else str(one) for one in shape) + ")"


def _ragged(field: str) -> str:
    return f"{field} is no array: its inner lists differ in length, or it has null in it."
