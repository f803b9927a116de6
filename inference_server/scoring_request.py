"""A request as a worker sees it, and how it becomes the arguments of run().

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import urllib.parse
from typing import Any

from inference_server.frames import JSON_BODY, METHODS


class BadRequest(Exception):
    """The caller's mistake: answered with `status` and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Request:
    """One request, cut into its parts without copying until a part is asked for."""

    __slots__ = (
        "_content",
        "_header_bytes",
        "_query_bytes",
        "call_ms",
        "flags",
        "id",
        "is_cut_short",
        "limit_ms",
        "method",
        "received",
    )

    def __init__(self, fields: tuple[int, ...], content: memoryview) -> None:
        (
            self.id,
            self.method,
            self.flags,
            self.limit_ms,
            self._query_bytes,
            self._header_bytes,
            _,
        ) = fields
        self._content = content
        self.received = time.monotonic()
        # What one call of run() may take; if that is cut short, the request comes up again.
        self.call_ms: float = self.limit_ms
        self.is_cut_short = False

    @property
    def size(self) -> int:
        return len(self._content)

    def keep(self) -> None:
        """Takes a copy of its own of what it is made of: the buffer is about to be used again."""
        self._content = memoryview(bytes(self._content))

    @property
    def query(self) -> str:
        return str(self._content[: self._query_bytes], "utf-8", "replace")

    @property
    def body(self) -> memoryview:
        return self._content[self._query_bytes + self._header_bytes :]

    def headers(self) -> dict[str, str]:
        """Names as web frameworks spell them (`Content-Type`), repeated ones joined by a comma."""
        start = self._query_bytes
        parts = str(self._content[start : start + self._header_bytes], "latin-1").split("\n")
        found: dict[str, str] = {}
        for place in range(0, len(parts) - 1, 2):
            name, value = parts[place], parts[place + 1]
            # `a_b` would be taken for `a-b` by frameworks: a known way to smuggle headers.
            if "_" not in name:
                key = name.title()
                found[key] = found[key] + "," + value if key in found else value
        return found

    def query_arguments(self) -> dict[str, Any]:
        arguments: dict[str, list[Any]] = {}
        for name, text in urllib.parse.parse_qsl(
            self.query, keep_blank_values=True, errors="replace"
        ):
            arguments.setdefault(name, []).append(json_or_text(text))
        return {
            name: values[0] if len(values) == 1 else values for name, values in arguments.items()
        }

    def wsgi_environment(self) -> dict[str, Any]:
        headers = self.headers()
        body = bytes(self.body)
        host, _, port = headers.get("Host", "localhost").partition(":")
        environment: dict[str, Any] = {
            "REQUEST_METHOD": METHODS[self.method],
            "SCRIPT_NAME": "",
            "PATH_INFO": "/score",
            "QUERY_STRING": self.query,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": host or "localhost",
            "SERVER_PORT": port or os.environ.get("SERVER_PORT", "5001"),
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environment[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = (
                value
            )
        return environment


def json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_object(request: Request) -> dict[str, Any]:
    if not request.flags & JSON_BODY:
        raise BadRequest(415, "Expects Content-Type to be application/json")
    body = bytes(request.body)
    try:
        found = json.loads(body)
    except ValueError as error:
        if not body:
            raise BadRequest(400, "POST body is empty. Expecting a JSON dictionary.") from None
        raise BadRequest(400, f"POST body could not be decoded as JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRequest(400, "POST body should be a JSON dictionary.")
    return found
