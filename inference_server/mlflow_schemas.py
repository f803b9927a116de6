"""The documents' schemas of an MLflow model: from its signature, with its input example.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import json
import os
from typing import Any

LARGEST_EXAMPLE_BYTES = 256 * 1024
TYPES: dict[str, dict[str, Any]] = {
    "double": {"type": "number", "format": "double"},
    "float": {"type": "number", "format": "float"},
    "long": {"type": "integer", "format": "int64"},
    "integer": {"type": "integer", "format": "int32"},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "format": "byte"},
}
SAMPLES = {"boolean": False, "string": "text", "datetime": "2024-01-01T00:00:00", "binary": "AA=="}


def input_schema(
    inputs: list[dict[str, Any]], params: list[dict[str, Any]], folder: str, example_file: str
) -> dict[str, Any]:
    """What `/score` takes, with an example that the model should answer."""
    example = {"input_data": _example(inputs, folder, example_file)}
    properties = {"input_data": _data_schema(inputs)}
    if params:
        properties["params"] = {
            "type": "object",
            "properties": {one["name"]: _param_schema(one) for one in params},
        }
        example["params"] = {one["name"]: one.get("default") for one in params}
    return {
        "type": "object",
        "required": ["input_data"],
        "properties": properties,
        "example": example,
    }


def output_schema(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """What it answers: rows for columns with names, a list otherwise."""
    named = {one["name"]: _type_schema(one) for one in outputs if one.get("name")}
    if not outputs:
        return {"type": "object", "example": {}}
    if not named:
        return {"type": "array", "items": _type_schema(outputs[0])}
    if outputs[0].get("type") == "tensor":
        return {"type": "object", "properties": named}
    return {"type": "array", "items": {"type": "object", "properties": named}}


def _data_schema(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    if not inputs:
        return {"type": "object"}
    if inputs[0].get("type") == "tensor":
        named = {one["name"]: _type_schema(one) for one in inputs if one.get("name")}
        if named:
            return {"type": "object", "required": list(named), "properties": named}
        return _type_schema(inputs[0])
    names = [one.get("name") or str(place) for place, one in enumerate(inputs)]
    cell = {"type": "array", "items": {}}
    return {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", "enum": names}},
            "index": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": cell},
        },
    }


def _type_schema(one: dict[str, Any]) -> dict[str, Any]:
    if one.get("type") == "tensor":
        spec = one["tensor-spec"]
        word = str(spec["dtype"])
        kind = "integer" if "int" in word else "boolean" if word == "bool" else "number"
        schema: dict[str, Any] = {"type": "string" if word in ("object", "str") else kind}
        for _ in spec["shape"]:
            schema = {"type": "array", "items": schema}
        return schema
    return dict(TYPES.get(one.get("type", ""), {}))


def _param_schema(one: dict[str, Any]) -> dict[str, Any]:
    schema = _type_schema(one)
    if one.get("shape"):
        schema = {"type": "array", "items": schema}
    return {**schema, "default": one.get("default")}


def _example(inputs: list[dict[str, Any]], folder: str, name: str) -> Any:
    """The input example that was saved with the model, else one made of the signature."""
    path = os.path.join(folder, name)
    try:
        if name and os.path.getsize(path) <= LARGEST_EXAMPLE_BYTES:
            with open(path, encoding="utf-8") as file:
                return _as_input_data(json.load(file))
    except (OSError, ValueError):
        pass
    return _made(inputs)


def _as_input_data(saved: Any) -> Any:
    """MLflow writes examples as they would be sent to its own server."""
    if isinstance(saved, dict):
        for form in ("dataframe_split", "dataframe_records", "instances", "inputs"):
            if form in saved:
                return saved[form]
    return saved


def _made(inputs: list[dict[str, Any]]) -> Any:
    if not inputs:
        return {"columns": [], "data": []}
    if inputs[0].get("type") == "tensor":
        named = {one["name"]: _made_tensor(one) for one in inputs if one.get("name")}
        return named or _made_tensor(inputs[0])
    names = [one.get("name") or place for place, one in enumerate(inputs)]
    row = [
        SAMPLES.get(one.get("type", ""), 0 if one.get("type") in ("long", "integer") else 0.0)
        for one in inputs
    ]
    return {"columns": names, "data": [row]}


def _made_tensor(one: dict[str, Any]) -> Any:
    spec = one["tensor-spec"]
    sizes = [1 if size == -1 else int(size) for size in spec["shape"]]
    total = 1
    for size in sizes:
        total *= size
    if total > 10_000:
        return []
    word = str(spec["dtype"])
    value: Any = 0 if "int" in word else False if word == "bool" else 0.0
    for size in reversed(sizes):
        value = [value] * size
    return value
