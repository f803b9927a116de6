"""Routes, headers and bodies as the genuine server answers them."""

import json
import os
import time
import urllib.parse
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol

from inference_server.frames import (
    CSV_BODY,
    FORM_BODY,
    INVOCATIONS,
    JSON_BODY,
    METHODS,
    OWN_HEADERS,
    RUN_FAILED,
    TIMED_OUT,
)
from inference_server.protocol import Connection, Request
from inference_server.request_log import RequestLog
from inference_server.settings import Settings
from inference_server.swagger import Documents, build_documents
from inference_server.v2_routes import NO_SCRIPT, Inference, Routes

MAX_ID = 100
METHOD_CODES = {name.encode(): code for code, name in enumerate(METHODS)}
REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}
FORM_TYPES = (
    b"application/x-www-form-urlencoded",
    b"multipart/form-data",
    b"application/x-url-encoded",
)
NOT_FOUND = (
    "The requested URL was not found on the server. If you entered the URL manually please check "
    "your spelling and try again."
)
NOT_ALLOWED = "The method is not allowed for the requested URL."
ID_TOO_LONG = f"x-request-id must not exceed {MAX_ID} characters"
OTHER_ID_TOO_LONG = (
    f"x-ms-request-id and x-ms-client-request-id must not exceed {MAX_ID} characters"
)
JSON_TYPE = b"application/json"
TEXT_TYPE = b"text/html; charset=utf-8"


class Queue(Protocol):
    """What the contract needs from the dispatcher."""

    @property
    def is_ready(self) -> bool: ...
    def submit(self, request: Request) -> None: ...
    def abandon(self, request: Request) -> None: ...
    def pause_stream(self, request: Request) -> None: ...
    def resume_stream(self, request: Request) -> None: ...


class Contract:
    """Turns requests into answers, or into work for the dispatcher; and its results into answers."""

    def __init__(self, settings: Settings, log: RequestLog) -> None:
        self.settings = settings
        self.connections: set[Connection] = set()
        self.queue: Queue = None  # type: ignore[assignment]
        self.wants_headers = False
        self._is_raw = False
        self._documents = Documents({})
        self._v2 = Routes() if settings.model_repository else None
        self._log = log
        self._content_flags: dict[bytes, int] = {}
        self._random = b""
        self._warned_of_old_id = False
        version = settings.server_version.encode()
        self._version_header = b"x-ms-server-version: " + version + b"\r\n" if version else b""
        self._success_head = b""
        self.tick()

    def tick(self) -> None:
        """Once a second: the date in the answers."""
        date = formatdate(time.time(), usegmt=True).encode()
        self._date_header = b"date: " + date + b"\r\n"
        self._success_head = (
            b"HTTP/1.1 200 OK\r\n" + self._date_header + b"content-type: application/json\r\n"
            b"x-ms-run-function-failed: False\r\n"
        )

    def learn(self, described: dict[str, Any]) -> None:
        """What the first ready worker told about the script."""
        self._is_raw = described["is_raw"]
        self.wants_headers = described["wants_headers"]
        if self._v2 is not None:
            self._v2.learn(described["models"])
            return
        self._documents = build_documents(self.settings, described)

    def handle(self, request: Request) -> None:
        if request.refusal is not None:
            status, message = request.refusal
            self._send_message(request, status, message)
            return
        path, _, query = request.target.partition(b"?")
        if path[:1] != b"/" and b"://" in path:
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        if b"%" in path:
            path = urllib.parse.unquote_to_bytes(path)
        request.path, request.query = path, query
        if self._v2 is not None and path != b"/":
            self._open_inference(self._v2, request)
        elif path == b"/score":
            self._score(request)
        elif path == b"/" or (self.settings.mlflow_folder and path in (b"/ping", b"/health")):
            self._health(request)
        elif self.settings.mlflow_folder and path == b"/invocations":
            self._score(request, INVOCATIONS)
        elif path == b"/swagger.json":
            self._swagger(request)
        else:
            self._send_message(request, 404, NOT_FOUND)

    def abandon(self, request: Request) -> None:
        self.queue.abandon(request)

    def pause_stream(self, request: Request) -> None:
        self.queue.pause_stream(request)

    def resume_stream(self, request: Request) -> None:
        self.queue.resume_stream(request)

    def refuse(self, request: Request, status: int, message: str, extra: bytes = b"") -> None:
        """The server's own no to a scoring request: too busy, too late, worker lost."""
        self._count(request, status, -1.0)
        self._send_message(request, status, message, extra=extra)

    def answer(
        self,
        request: Request,
        status: int,
        flags: int,
        headers: bytes,
        body: bytes,
        took_ms: float,
    ) -> None:
        """A worker's whole answer, on its way out."""
        if flags & TIMED_OUT and self._is_late(request):
            self.refuse_late(request)
            return
        self._count(request, status, took_ms)
        if self._v2 is not None and not flags & OWN_HEADERS:
            # Words of a worker that does not know the protocol: a timeout, an error of ours.
            body = json.dumps({"error": json.loads(body)["message"]}).encode()
        if status == 200 and not flags and not self.settings.cors_origins:
            head = b"%bx-ms-run-fn-exec-ms: %.3f\r\ncontent-length: %d\r\n%b" % (
                self._success_head,
                took_ms,
                len(body),
                request.id_headers,
            )
            self._finish(request, status, head, body)
            return
        head = self._score_head(request, status, flags, headers, took_ms)
        head += b"content-length: %d\r\n" % len(body)
        self._finish(request, status, head, body)

    def begin_stream(
        self, request: Request, status: int, flags: int, headers: bytes, took_ms: float
    ) -> None:
        head = self._score_head(request, status, flags, headers, took_ms)
        if request.version == "1.0":
            request.keep_alive = False
        else:
            head += b"transfer-encoding: chunked\r\n"
        request.is_streaming = True
        request.status = status
        request.connection.write(head + self._ending(request))

    def continue_stream(self, request: Request, part: bytes) -> None:
        if request.version != "1.0":
            part = b"%x\r\n%b\r\n" % (len(part), part)
        request.connection.write(part)

    def end_stream(self, request: Request) -> None:
        self._log.answered(request, request.status, 0)
        request.connection.finish(request, b"" if request.version == "1.0" else b"0\r\n\r\n")

    def break_stream(self, request: Request) -> None:
        request.is_answered = True
        request.connection.abort()

    def refuse_late(self, request: Request) -> None:
        limit = self.settings.request_timeout_ms
        self.refuse(request, 408, f"The deployment did not answer within {limit} ms.")

    def _is_late(self, request: Request) -> bool:
        return request.limit_ms < self.settings.scoring_timeout_ms

    def _score(self, request: Request, route: int = 0) -> None:
        code = METHOD_CODES.get(request.method)
        if code is None:
            self._send_message(request, 405, NOT_ALLOWED)
        elif not self._identify(request):
            return
        elif code == 2 and not self._is_raw:
            self._send(request, 200, TEXT_TYPE, b"", b"x-ms-run-function-failed: False\r\n")
        else:
            content_type = request.header(b"content-type")
            request.content_flags = (self._flags_of(content_type) if content_type else 0) | route
            self.queue.submit(request)

    def _open_inference(self, routes: Routes, request: Request) -> None:
        """A request for a model repository, by the Open Inference Protocol."""
        path = request.path
        if path != b"/v2" and not path.startswith(b"/v2/"):
            is_script = path in (b"/score", b"/swagger.json")
            self._send_message(request, 404, NO_SCRIPT if is_script else NOT_FOUND)
        elif self._identify(request):
            found = routes.find(request.method, path, is_ready=self.queue.is_ready)
            if isinstance(found, Inference):
                request.inference = found
                request.query = found.order(request.headers)
                self.queue.submit(request)
            else:
                self._send(request, found.status, JSON_TYPE, found.body)

    def _count(self, request: Request, status: int, took_ms: float) -> None:
        if self._v2 is not None and isinstance(request.inference, Inference):
            total_seconds = time.monotonic() - request.arrived
            self._v2.count(request.inference, status, total_seconds, took_ms)

    def _health(self, request: Request) -> None:
        if request.method in (b"GET", b"HEAD"):
            if not self._identify(request):
                return
            if self.queue.is_ready:
                self._send(request, 200, TEXT_TYPE, b"Healthy")
            else:
                self._send(request, 503, TEXT_TYPE, b"Not ready")
        elif request.method == b"OPTIONS":
            self._send_allowed(request)
        else:
            self._send_message(request, 405, NOT_ALLOWED)

    def _swagger(self, request: Request) -> None:
        if request.method == b"OPTIONS":
            self._send_allowed(request)
            return
        if request.method not in (b"GET", b"HEAD"):
            self._send_message(request, 405, NOT_ALLOWED)
            return
        if not self._identify(request):
            return
        query = urllib.parse.parse_qs(
            request.query.decode("utf-8", "replace"), keep_blank_values=True
        )
        document, reason = self._documents.find(query.get("version", ["2"])[0])
        if document is None:
            self._send_message(request, 404, reason)
        else:
            self._send(request, 200, JSON_TYPE, document, b"x-ms-run-function-failed: False\r\n")

    def _identify(self, request: Request) -> bool:
        """Settles the ids of the answer, or refuses them; only routed requests get any."""
        own = legacy = client = trace = None
        for name, value in request.headers:
            if name == b"x-request-id":
                own = value
            elif name == b"x-ms-request-id":
                legacy = value
            elif name == b"x-ms-client-request-id":
                client = value
            elif name == b"traceid":
                trace = value
        head = self._version_header
        if trace is not None:
            head += b"TraceId: " + trace + b"\r\n"
        if own is not None and len(own) > MAX_ID:
            request.id_headers = head
            self._send_message(request, 431, ID_TOO_LONG)
            return False
        if own is None:
            own = self._new_id()
        if own:
            head += b"x-request-id: " + own + b"\r\n"
        if legacy:
            client = client or legacy
            self._warn_of_old_id()
        else:
            legacy = client or own
        if len(legacy) > MAX_ID or (client and len(client) > MAX_ID):
            request.id_headers = head
            self._send_message(request, 431, OTHER_ID_TOO_LONG)
            return False
        if legacy:
            head += b"x-ms-request-id: " + legacy + b"\r\n"
        if client:
            head += b"x-ms-client-request-id: " + client + b"\r\n"
        if self.settings.cors_origins:
            head += self._cors_headers(request)
        request.id_headers = head
        return True

    def _new_id(self) -> bytes:
        if len(self._random) < 32:
            self._random = os.urandom(4096).hex().encode()
        digits, self._random = self._random[:32], self._random[32:]
        return b"%b-%b-4%b-a%b-%b" % (
            digits[:8],
            digits[8:12],
            digits[13:16],
            digits[17:20],
            digits[20:],
        )

    def _warn_of_old_id(self) -> None:
        if not self._warned_of_old_id:
            self._warned_of_old_id = True
            self._log.line(
                "W",
                "x-ms-request-id header has been deprecated and will be removed from future "
                "versions of the server. Please use x-ms-client-request-id.",
            )

    def _cors_headers(self, request: Request) -> bytes:
        origin = request.header(b"origin")
        allowed = self.settings.cors_origins
        if origin is None:
            one = allowed[0].encode("latin-1", "replace") if len(allowed) == 1 else b""
            return b"access-control-allow-origin: " + one + b"\r\n" if one else b""
        known = origin.decode("latin-1").lower() in [name.lower() for name in allowed]
        if not known and "*" not in allowed:
            return b""
        head = b"access-control-allow-origin: " + origin + b"\r\n"
        if len(allowed) > 1 or "*" in allowed:
            head += b"vary: Origin\r\n"
        if request.method == b"OPTIONS" and request.header(b"access-control-request-method"):
            head += b"access-control-allow-methods: GET, POST\r\n"
            asked = request.header(b"access-control-request-headers")
            if asked:
                head += b"access-control-allow-headers: " + asked + b"\r\n"
        return head

    def _flags_of(self, content_type: bytes) -> int:
        flags = self._content_flags.get(content_type)
        if flags is None:
            kind = content_type.partition(b";")[0].strip().lower()
            is_json = kind == JSON_TYPE or (
                kind.startswith(b"application/") and kind.endswith(b"+json")
            )
            flags = JSON_BODY if is_json else FORM_BODY if kind in FORM_TYPES else 0
            flags |= CSV_BODY if kind == b"text/csv" else 0
            if len(self._content_flags) < 100:
                self._content_flags[content_type] = flags
        return flags

    def _score_head(
        self, request: Request, status: int, flags: int, headers: bytes, took_ms: float
    ) -> bytes:
        head = b"HTTP/1.1 %d %b\r\n%b" % (
            status,
            REASONS.get(status, b"Unknown"),
            self._date_header,
        )
        if flags & OWN_HEADERS:
            head += headers
        else:
            failed = b"True" if flags & RUN_FAILED else b"False"
            head += (
                b"content-type: application/json\r\nx-ms-run-function-failed: " + failed + b"\r\n"
            )
        if took_ms >= 0:
            head += b"x-ms-run-fn-exec-ms: %.3f\r\n" % took_ms
        return head + request.id_headers

    def _send_allowed(self, request: Request) -> None:
        if self._identify(request):
            self._send(request, 200, TEXT_TYPE, b"", b"allow: OPTIONS, GET, HEAD\r\n")

    def _send_message(
        self, request: Request, status: int, message: str, extra: bytes = b""
    ) -> None:
        key = "message" if self._v2 is None else "error"
        body = json.dumps({key: message}).encode()
        self._send(
            request, status, JSON_TYPE, body, b"x-ms-run-function-failed: False\r\n" + extra
        )

    def _send(
        self, request: Request, status: int, kind: bytes, body: bytes, extra: bytes = b""
    ) -> None:
        head = b"HTTP/1.1 %d %b\r\n%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b" % (
            status,
            REASONS[status],
            self._date_header,
            kind,
            len(body),
            extra,
            request.id_headers,
        )
        self._finish(request, status, head, body)

    def _finish(self, request: Request, status: int, head: bytes, body: bytes) -> None:
        self._log.answered(request, status, len(body))
        if request.method == b"HEAD":
            body = b""
        ending = self._ending(request)
        if len(body) > 64 * 1024:
            request.connection.write(head + ending)
            request.connection.finish(request, body)
        else:
            request.connection.finish(request, head + ending + body)

    @staticmethod
    def _ending(request: Request) -> bytes:
        if not request.keep_alive:
            return b"connection: close\r\n\r\n"
        if request.version == "1.0":
            return b"connection: keep-alive\r\n\r\n"
        return b"\r\n"
