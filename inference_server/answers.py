"""How a worker's answers leave it: as JSON, as a web framework's response, or part by part.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from inference_server.frames import (
    ANSWER,
    CANCEL,
    INLINE_BYTES,
    OWN_HEADERS,
    STREAM_BROKEN,
    STREAM_END,
    STREAM_HEAD,
    STREAM_PART,
    WHOLE,
)
from inference_server.own_answer import OwnAnswer
from inference_server.scoring_request import Request

# A script cannot choose these; the I/O process writes them.
SERVER_HEADERS = frozenset(
    (
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
        "x-ms-request-id",
        "x-ms-client-request-id",
    )
)
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What a gateway takes of an answer, with room for what is added to it.
MOST_HEADERS = 80
MOST_HEADER_BYTES = 48 * 1024
SCRIPT_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
INTERNAL_ERROR = "An unexpected internal error occurred. Check the logs for more info."

logger = logging.getLogger("azmlinfsrv")


def send_output(
    answers: socket.socket,
    request: Request,
    output: Any,
    took_ms: float,
    environment: dict[str, Any] | None,
) -> None:
    if isinstance(output, OwnAnswer):
        status, headers, body = output
        send(answers, request.id, WHOLE, body, OWN_HEADERS, status, headers, took_ms)
        return
    if not is_response(output):
        send_parts(answers, *output_frame(request, output, took_ms))
        return
    try:
        send_response(answers, request, output, took_ms, environment)
    except Exception:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_message(answers, request, 500, INTERNAL_ERROR)


def is_response(output: Any) -> bool:
    """Whether run() gave a web framework's response, which goes out as it is."""
    flask = sys.modules.get("flask")
    return flask is not None and isinstance(output, flask.Response)


def output_frame(request: Request, output: Any, took_ms: float) -> tuple[bytes, bytes]:
    """Head and body of the answer with the JSON of what run() gave, or that it is no JSON."""
    try:
        body = b"{}" if output is None else json.dumps(output).encode()
    except Exception:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        return message_frame(request, 500, INTERNAL_ERROR)
    return ANSWER.pack(request.id, WHOLE, 0, 200, 0, len(body), took_ms), body


def message_frame(
    request: Request, status: int, message: str, flags: int = 0
) -> tuple[bytes, bytes]:
    body = json.dumps({"message": message}).encode()
    return ANSWER.pack(request.id, WHOLE, flags, status, 0, len(body), -1.0), body


def send_response(
    answers: socket.socket,
    request: Request,
    response: Any,
    took_ms: float,
    environment: dict[str, Any] | None,
) -> None:
    """A web framework's response, whole or part by part if it is a generator."""
    if response.status_code >= 500:
        response.headers["x-ms-run-function-failed"] = "True"
    is_streamed = response.is_streamed
    environment = environment or request.wsgi_environment()
    parts, _, pairs = response.get_wsgi_response(environment)
    headers = own_headers(pairs)
    status = response.status_code
    if not 200 <= status <= 999:
        raise ValueError(f"The status {status} of the response is not one that ends a request")
    if is_streamed:
        send(answers, request.id, STREAM_HEAD, b"", OWN_HEADERS, status, headers, took_ms)
        send_stream(answers, request, parts)
        return
    try:
        body = b"".join(parts)
    finally:
        response.close()
    send(answers, request.id, WHOLE, body, OWN_HEADERS, status, headers, took_ms)


def own_headers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """The script's headers as they are sent; ValueError for any that would not arrive as what they are."""
    kept = [(name, value) for name, value in pairs if name.lower() not in SERVER_HEADERS]
    for name, value in kept:
        if not HEADER_NAME.fullmatch(name) or CONTROL.search(value):
            raise ValueError(
                f"The response header {name[:60]!r} has a character that none may have"
            )
    lines = "".join(f"{name}: {value}\r\n" for name, value in kept)
    headers = lines.encode("latin-1", "replace")
    if len(kept) > MOST_HEADERS or len(headers) > MOST_HEADER_BYTES:
        raise ValueError(
            f"The response has {len(kept)} headers of {len(headers)} bytes; at most {MOST_HEADERS} of "
            f"{MOST_HEADER_BYTES} bytes together are sent"
        )
    return headers


def send_stream(answers: socket.socket, request: Request, parts: Iterable[bytes]) -> None:
    kind = STREAM_END
    try:
        for part in parts:
            if is_cancelled(answers, request):
                break
            if part:
                send(answers, request.id, STREAM_PART, part)
    except Exception:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        kind = STREAM_BROKEN
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    send(answers, request.id, kind, b"")


def is_cancelled(answers: socket.socket, request: Request) -> bool:
    """Whether the I/O process said that nobody reads this stream any more."""
    try:
        told = answers.recv(64 * CANCEL.size, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    # What was said of an earlier stream may come after its end.
    return (request.id,) in CANCEL.iter_unpack(told[: len(told) // CANCEL.size * CANCEL.size])


def send_message(
    answers: socket.socket, request: Request, status: int, message: str, flags: int = 0
) -> None:
    send_parts(answers, *message_frame(request, status, message, flags))


def send(
    answers: socket.socket,
    request_id: int,
    kind: int,
    body: bytes,
    flags: int = 0,
    status: int = 200,
    headers: bytes = b"",
    took_ms: float = -1.0,
) -> None:
    head = ANSWER.pack(request_id, kind, flags, status, len(headers), len(body), took_ms)
    send_parts(answers, head + headers, body)


def send_parts(answers: socket.socket, *parts: bytes) -> None:
    """Sends whole frames: small ones together, large ones without copying them once more."""
    try:
        if sum(map(len, parts)) > 2 * INLINE_BYTES:
            for part in parts:
                answers.sendall(part)
        else:
            answers.sendall(b"".join(parts))
    except (BrokenPipeError, ConnectionResetError):
        # Nobody is left to answer to. No clean-up of the script's may hold this process.
        os._exit(0)
