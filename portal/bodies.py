"""Refuses request bodies before Django writes them to the disk: too large ones, and uploads that nobody may make."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpResponse

from api import blobs
from api.arm import MOST_BODY_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

UPLOADS, PAGES = "/storage/", "/w/"
FORM_BYTES = 16 * 1024 * 1024
"""What the fields and borders of a form may add to its files."""
SMALL_BYTES = 256 * 1024
"""So much of an upload is taken in before anybody asks whether its sender may."""
PASSED_OVER_BYTES = 128 * 1024 * 1024
"""So much of a refused body is read and forgotten; the SDK sends up to 64 MiB at once."""


@dataclass(frozen=True)
class Bound:
    """How large a body may be, and the answer to a larger one."""

    most_bytes: int
    content_type: str
    text: str
    code: str = "RequestBodyTooLarge"


class BoundedBodies:
    """Passes requests on to `app`, for as long as their bodies are within their bounds."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        bound = bound_of(scope["path"])
        headers = dict(scope["headers"])
        told = headers.get(b"content-length", b"")
        length = int(told) if told.isdigit() and len(told) < 20 else None
        if length is not None and length > bound.most_bytes:
            await _refuse(bound, receive, send)
            return
        if scope["path"].startswith(UPLOADS) and scope["method"] == "PUT":
            is_large = length is None or length > SMALL_BYTES
            refusal = await _early_refusal(scope) if is_large else None
            if refusal is not None:
                await _answer(refusal, receive, send)
                return
        await self._app(scope, _Counted(receive, send, bound), send)


def bound_of(path: str) -> Bound:
    """Uploads, the studio's forms, and everything else, which is the API with its small bodies."""
    if path.startswith(UPLOADS):
        words = _words(settings.MAX_UPLOAD_BYTES, "PORTICO_MAX_UPLOAD_BYTES")
        text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>RequestBodyTooLarge</Code><Message>{escape(words)}'
        return Bound(settings.MAX_UPLOAD_BYTES, "application/xml", f"{text}</Message></Error>")
    if path.startswith(PAGES):
        words = _words(settings.MAX_UPLOAD_BYTES, "PORTICO_MAX_UPLOAD_BYTES")
        return Bound(settings.MAX_UPLOAD_BYTES + FORM_BYTES, "text/plain; charset=utf-8", words)
    words = f"{_words(MOST_BODY_BYTES)} Upload files to the datastore and name them in the body."
    error = {"error": {"code": "RequestContentTooLarge", "message": words}}
    return Bound(MOST_BODY_BYTES, "application/json", json.dumps(error), "RequestContentTooLarge")


class _Counted:
    """Receives a body until it passes its bound; then the app is told that the caller has gone."""

    def __init__(self, receive: Receive, send: Send, bound: Bound) -> None:
        self._receive = receive
        self._send = send
        self._bound = bound
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._bound.most_bytes:
            if message.get("more_body"):
                await _refuse(self._bound, self._receive, self._send)
            else:
                await _refuse(self._bound, None, self._send)
            return {"type": "http.disconnect"}
        return message


async def _early_refusal(scope: Message) -> HttpResponse | None:
    request = ASGIRequest(dict(scope), io.BytesIO())
    refusal: HttpResponse | None = await sync_to_async(_look, thread_sensitive=False)(request)
    return refusal


def _look(request: ASGIRequest) -> HttpResponse | None:
    try:
        return blobs.refusal(request)
    finally:
        # This thread belongs to no request, at whose end connections are given back.
        connections.close_all()


async def _refuse(bound: Bound, receive: Receive | None, send: Send) -> None:
    response = HttpResponse(bound.text, status=413, content_type=bound.content_type)
    response["x-ms-error-code"] = bound.code
    await _answer(response, receive, send)


async def _answer(response: HttpResponse, receive: Receive | None, send: Send) -> None:
    if receive is not None:
        await _pass_over(receive)
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    headers += [
        (b"content-length", str(len(response.content)).encode()),
        (b"connection", b"close"),
    ]
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": response.content})


async def _pass_over(receive: Receive) -> None:
    """Let the rest of a body go by, so that the sender hears the answer; of an endless one only a part."""
    passed = 0
    while passed <= PASSED_OVER_BYTES:
        message = await receive()
        passed += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def _words(most: int, setting: str = "") -> str:
    way_out = f" (setting {setting})" if setting else ""
    return f"The request body has more than {most} bytes{way_out}."
