"""`rawhttp` and the request that such a run() gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Request

_rawHttpRequested = False
_Function = TypeVar("_Function", bound=Callable[..., Any])


def rawhttp(func: _Function) -> _Function:
    """Asks for the HTTP request itself. The first use switches the whole process."""
    global _rawHttpRequested
    _rawHttpRequested = True
    return func


class AMLRequest(Request):
    """The request handed to a raw run(); here so that a script can name its type."""
