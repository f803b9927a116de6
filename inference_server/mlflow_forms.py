"""The forms in which a request may give a model its data, told apart before any of it is looked at.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from inference_server.frames import CSV_BODY, FORM_BODY, GET, INVOCATIONS
from inference_server.scoring_request import BadRequest, Request

SPLIT_KEYS = {"columns", "index", "data"}
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
UNWRAPPED = frozenset(("messages", "prompt", "input"))
"""What chat, completion and embedding models take at the top of the body, and not under one of the forms."""
NO_INPUT_DATA = (
    "Request must contain a top level key named 'input_data'. Send "
    '{"input_data": {"columns": [...], "data": [[...], ...]}}, or a list for models that take arrays.'
)


class Table(NamedTuple):
    """Rows of values; without `columns` they are told by their place."""

    columns: list[Any] | None
    rows: list[Any]
    labels: list[Any] | None


class Named(NamedTuple):
    """Values by the name of a column or tensor."""

    values: dict[str, Any]


class Values(NamedTuple):
    """A list, or a lone value."""

    values: Any


class Csv(NamedTuple):
    """The text of a CSV file with a head line."""

    content: bytes


class Whole(NamedTuple):
    """A body that is the data itself, parameters among it."""

    values: dict[str, Any]


class Wish(NamedTuple):
    """What a request asks of the model. `field` is what its data stands under, `sent` the same as MLflow takes it."""

    data: Any
    params: Any
    field: str
    sent: dict[str, Any] | None = None


def read_wish(request: Request, names: frozenset[str]) -> Wish:
    """The data of a request; `names` are those of the model's signature. Raises BadRequest."""
    if not request.flags & INVOCATIONS:
        found = request.query_arguments() if request.method == GET else _object(request)
        if "input_data" not in found:
            raise BadRequest(400, NO_INPUT_DATA)
        value = found["input_data"]
        data = _any_form(value, "input_data", names)
        return Wish(data, found.get("params"), "input_data", {_form_of(data, value): value})
    if request.method == GET:
        raise BadRequest(405, "The method is not allowed for the requested URL.")
    if request.flags & CSV_BODY:
        return Wish(Csv(bytes(request.body)), None, "the CSV")
    if request.flags & FORM_BODY:
        raise BadRequest(
            415, "Send the data as application/json or text/csv, and say so in Content-Type."
        )
    found = _object(request)
    given = [form for form in FORMS if form in found]
    if not given and not names.isdisjoint(UNWRAPPED & set(found)):
        return Wish(Whole(found), None, "the body")
    if len(given) != 1:
        named = ", ".join(f"'{form}'" for form in given or found) or "none"
        raise BadRequest(
            400, f"The body must have exactly one of {', '.join(FORMS)}; it has {named}."
        )
    form = given[0]
    value = found[form]
    return Wish(_invocation(form, value, names), found.get("params"), form, {form: value})


def _object(request: Request) -> dict[str, Any]:
    body = bytes(request.body)
    try:
        found = json.loads(body)
    except ValueError as error:
        if not body:
            raise BadRequest(400, "The body is empty. " + NO_INPUT_DATA) from None
        raise BadRequest(400, f"The body could not be decoded as JSON: {error}") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise BadRequest(400, f"The body must be a JSON object; it is a {kind}.")
    return found


def _invocation(form: str, value: Any, names: frozenset[str]) -> Any:
    if form == "dataframe_split":
        if not isinstance(value, dict) or "data" not in value or not set(value) <= SPLIT_KEYS:
            raise BadRequest(
                400, "dataframe_split must be an object of 'columns', 'index' and 'data' alone."
            )
        return _table(value, form)
    if form == "dataframe_records":
        if not _is_records(value):
            raise BadRequest(400, "dataframe_records must be a list of objects, one for each row.")
        return _of_records(value)
    if _is_records(value):
        return _of_records(value)
    return Named(value) if isinstance(value, dict) else Values(value)


def _any_form(value: Any, field: str, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        is_split = "data" in value and set(value) <= SPLIT_KEYS
        if is_split and ("columns" in value or "data" not in names):
            return _table(value, field)
        return Named(value)
    return _of_records(value) if _is_records(value) else Values(value)


def _form_of(data: Any, value: Any) -> str:
    if not isinstance(data, Table):
        return "inputs"
    return "dataframe_split" if isinstance(value, dict) else "dataframe_records"


def _table(value: dict[str, Any], field: str) -> Table:
    columns, rows, index = value.get("columns"), value["data"], value.get("index")
    if not isinstance(rows, list):
        raise BadRequest(400, f"{field}.data must be a list of rows.")
    if columns is not None and not isinstance(columns, list):
        raise BadRequest(400, f"{field}.columns must be a list of names.")
    if index is not None and (not isinstance(index, list) or len(index) != len(rows)):
        raise BadRequest(400, f"{field}.index must be a list as long as data ({len(rows)}).")
    if rows and not any(isinstance(row, list) for row in rows):
        # One column may come as a plain list, as pandas takes it.
        rows = [[value] for value in rows]
    width = len(columns) if columns is not None else len(rows[0]) if rows else 0
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            found = len(row) if isinstance(row, list) else "no list of"
            raise BadRequest(
                400, f"{field}.data[{place}] has {found} values; there are {width} columns."
            )
    return Table(columns, rows, index)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _of_records(rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, [[row.get(name) for name in columns] for row in rows], None)
