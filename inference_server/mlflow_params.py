"""Parameters of a request to an MLflow model, by the signature's own list of them.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from inference_server.scoring_request import BadRequest

TAKES: dict[str, tuple[tuple[type, ...], str]] = {
    "double": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "long": ((int,), "a whole number"),
    "integer": ((int,), "a whole number"),
    "boolean": ((bool,), "true or false"),
    "string": ((str,), "a text"),
    "datetime": ((str,), "a date as ISO 8601 text"),
}


def params_of(given: Any, known: list[dict[str, Any]]) -> dict[str, Any]:
    """Every parameter of the signature, with its default where none is given; others are dropped."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise BadRequest(400, f"params must be an object; it is a {type(given).__name__}.")
    return {
        one["name"]: _checked(given[one["name"]], one)
        if one["name"] in given
        else one.get("default")
        for one in known
    }


def _checked(value: Any, one: dict[str, Any]) -> Any:
    kind, name = one.get("type", ""), one["name"]
    if kind not in TAKES or value is None:
        return value
    if not one.get("shape"):
        return _scalar(value, kind, name)
    if not isinstance(value, list):
        raise BadRequest(400, f"params.{name} takes a list; it is {value!r:.60}.")
    return [_scalar(inner, kind, name) for inner in value]


def _scalar(value: Any, kind: str, name: str) -> Any:
    allowed, wanted = TAKES[kind]
    if type(value) not in allowed:
        raise BadRequest(400, f"params.{name} takes {wanted} ({kind}); it is {value!r:.60}.")
    if kind in ("double", "float"):
        return float(value)
    if kind != "datetime":
        return value
    try:
        # Python before 3.11 does not read the Z.
        found = datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
    except ValueError:
        raise BadRequest(400, f"params.{name} takes {wanted}; it is {value!r:.60}.") from None
    offset = found.utcoffset()
    # MLflow makes of a text what the model gets: a date alone stays one.
    return value if offset is None else (found.replace(tzinfo=None) - offset).isoformat()
