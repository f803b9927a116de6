"""JSON Schema in few words: what bodies look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

Json = dict[str, Any]
Shape = Union[Json, "Named"]


@dataclass(frozen=True)
class Named:
    """A shape that stands once in the document, under this name, and is referred to everywhere else."""

    name: str
    shape: Json


def text(description: str = "", **more: Any) -> Json:
    return _shape("string", description, more)


def whole(description: str = "", **more: Any) -> Json:
    return _shape("integer", description, more)


def number(description: str = "", **more: Any) -> Json:
    return _shape("number", description, more)


def flag(description: str = "", **more: Any) -> Json:
    return _shape("boolean", description, more)


def choice(words: Iterable[str], description: str = "") -> Json:
    """One of these words. Requests may write them in any case; answers are as here."""
    return text(description, enum=list(words))


def instant(description: str = "") -> Json:
    return text(description, format="date-time")


def duration(description: str = "") -> Json:
    """ISO 8601. Not `format: duration`, which allows years and weeks."""
    return text(description, pattern=r"^P[0-9DTHMS.]{1,40}$", examples=["PT5S"])


def items(item: Shape, description: str = "", **more: Any) -> Json:
    return {**_shape("array", description, more), "items": item}


def anything(description: str = "") -> Json:
    return {"description": description} if description else {}


def mapping(values: Shape | None = None, description: str = "") -> Json:
    """An object whose keys are names; its values are texts unless another shape is given."""
    shape = _shape("object", description, {})
    return shape | {"additionalProperties": text() if values is None else values}


def record(
    needed: Mapping[str, Shape] | None = None,
    optional: Mapping[str, Shape] | None = None,
    description: str = "",
) -> Json:
    """An object with these fields. Others may stand beside them: clients pass over what they do not know."""
    needed, optional = needed or {}, optional or {}
    shape = _shape("object", description, {})
    shape["properties"] = {**needed, **optional}
    if needed:
        shape["required"] = list(needed)
    return shape


def or_null(shape: Json) -> Json:
    """The same, or null, of a shape whose type is one word."""
    return {**shape, "type": [shape["type"], "null"]}


def _shape(kind: str, description: str, more: Mapping[str, Any]) -> Json:
    shape: Json = {"type": kind}
    if description:
        shape["description"] = description
    return shape | dict(more)
