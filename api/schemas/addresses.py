"""The addresses of `api/urls.py` in Azure's spelling, which their patterns accept in any case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver

from api.arm import ArmView
from api.schemas.shapes import Json, text

METHODS = ("GET", "PUT", "PATCH", "POST", "DELETE")
FILES = "/storage/{workspace}.blob.core.windows.net/{container}"
# Two addresses to the document, since OpenAPI has no optional part of a path.
BLOBS = {"blobs": f"{FILES}/{{path}}", "blobs-list": FILES}
LEFT_OUT = {
    "arm-unsupported": "answers 404 for whatever the others do not match",
    "blobs-unsupported": "answers 400 in the same way",
    "schema": "is the document",
}
"""Name of an address that is not in the document, and why."""
PARAMETERS: dict[str, Json] = {
    "subscription": text(examples=["00000000-0000-0000-0000-000000000001"]),
    "resource_group": text(examples=["portico"]),
    "workspace": text(examples=["main"]),
    "location": text("A region; an installation is one.", examples=["local"]),
    "operation": text("As in the header Azure-AsyncOperation."),
    "container": text(pattern=r"^[a-z0-9-]{3,63}$"),
    "path": text("May have slashes."),
    "datastore": text(examples=["workspaceblobstore"]),
    "token": text("Its id."),
    "tenant": text("There is one directory; any name is taken for it."),
}


def spelled(pattern: URLPattern) -> str:
    """`/subscriptions/{subscription}/…`; empty for the one that catches the rest."""
    name = pattern.name or ""
    if name in LEFT_OUT:
        return ""
    if name in BLOBS:
        return BLOBS[name]
    words = str(pattern.pattern)
    words = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", re.sub(r"\(\?P<(\w+)>\[[^)]*\)", r"{\1}", words))
    words = re.sub(r"\[(\w)\w\]", r"\1", words).strip("^$").removesuffix("/?")
    return "/" + words.replace("\\", "")


def addresses() -> Iterator[tuple[str, str, Any]]:
    """Name, spelling and view of each that is in the document."""
    for pattern in get_resolver("api.urls").url_patterns:
        if not isinstance(pattern, URLPattern) or not spelled(pattern):
            continue
        yield str(pattern.name), spelled(pattern), pattern.callback
        if pattern.name == "blobs":
            yield "blobs-list", FILES, pattern.callback


def methods_of(name: str, view: Any) -> set[str]:
    """What its view answers, apart from refusing it."""
    if name == "blobs-list":
        return {"GET"}
    if not hasattr(view, "cls"):
        return {name.upper() for name in view.view_class.http_method_names} & set(METHODS)
    made = view.cls(**view.initkwargs)
    offered = {method for method in METHODS if hasattr(made, method.lower())}
    if isinstance(made, ArmView):
        return {method for method in offered if made.action_of(method)}
    return offered


def parameters_of(address: str) -> list[Json]:
    """One for each `{name}` of the address."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"minLength": 1, **PARAMETERS.get(name, text())},
        }
        for name in re.findall(r"{(\w+)}", address)
    ]
