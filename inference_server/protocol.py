"""HTTP/1.1 on one connection: requests in order; what is too large or too slow is refused."""

import asyncio
import os
from collections import deque
from time import monotonic
from typing import Protocol, cast

import httptools

from inference_server.settings import Settings

# The genuine server's limits of a request line and of one header, in bytes.
MAX_REQUEST_LINE = 4_094
MAX_HEADER = 8_190
MAX_HEADERS = 100
MAX_HEAD = 64 * 1024
MAX_PIPELINED = 16
# A body that keeps coming at this rate is not slow, however large.
MIN_BODY_BYTES_PER_SECOND = 16 * 1024
# How long a refused sender may go on before the connection is cut under it.
LINGER_SECONDS = 2.0


class Request:
    """One request, from its first byte to its last answered one."""

    __slots__ = (
        "arrived",
        "body",
        "body_bytes",
        "connection",
        "content_flags",
        "deadline",
        "headers",
        "id",
        "id_headers",
        "inference",
        "is_answered",
        "is_streaming",
        "keep_alive",
        "limit_ms",
        "memory_file",
        "method",
        "path",
        "query",
        "refusal",
        "status",
        "target",
        "version",
    )

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.method = b""
        self.target = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.body_bytes = 0
        self.keep_alive = True
        self.refusal: tuple[int, str] | None = None
        self.is_answered = False
        self.is_streaming = False
        self.arrived = 0.0
        self.id = 0
        self.id_headers = b""
        self.content_flags = 0
        self.deadline = 0.0
        self.limit_ms = 0
        self.memory_file = -1
        self.status = 200
        # What a model repository is asked for; see v2_routes.
        self.inference: object = None

    def file_of(self, headers: bytes) -> int:
        """A memory file with query, headers and body, made once; the body leaves our memory."""
        if self.memory_file < 0:
            self.memory_file = os.memfd_create("request", os.MFD_CLOEXEC)
            for chunk in (self.query, headers, *self.body):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(self.memory_file, rest) :]
            self.body.clear()
        return self.memory_file

    def release(self) -> None:
        """Frees what only a worker would have needed."""
        self.body.clear()
        if self.memory_file >= 0:
            os.close(self.memory_file)
            self.memory_file = -1

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Handler(Protocol):
    """What a connection needs from the contract."""

    settings: Settings
    connections: set["Connection"]

    def handle(self, request: Request) -> None: ...
    def abandon(self, request: Request) -> None: ...
    def pause_stream(self, request: Request) -> None: ...
    def resume_stream(self, request: Request) -> None: ...


class _Refused(Exception):
    """Stops the parser; the refusal itself is on the request."""


class Connection(asyncio.Protocol):
    """Requests are handed on one at a time and answered in the order in which they came."""

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._pipeline: deque[Request] = deque()
        self._request = Request(self)
        self._head_bytes = 0
        self._is_in_head = False
        self._began: float | None = None
        self._idle_since = 0.0
        self._reads_on = True
        self._is_paused = False
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its type.
        self._transport = cast(asyncio.Transport, transport)
        self._idle_since = monotonic()
        self._handler.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._handler.connections.discard(self)
        self._reads_on = False
        for request in self._pipeline:
            self._handler.abandon(request)
        self._pipeline.clear()

    def data_received(self, data: bytes) -> None:
        if not self._reads_on:
            return
        try:
            self._parser.feed_data(data)
            if self._is_in_head:
                self._head_bytes += len(data)
                if self._head_bytes > 2 * MAX_HEAD:
                    self._request.refusal = (431, "The request headers are too large.")
                    self._refuse_rest()
        except httptools.HttpParserUpgrade:
            # The request is complete and answered as plain HTTP; what follows is not.
            self._reads_on = False
            self.close_when_done()
        except httptools.HttpParserCallbackError:
            if self._request.refusal is None:
                raise
            self._refuse_rest()
        except httptools.HttpParserError:
            self._request.refusal = (400, "The request is not valid HTTP/1.1.")
            self._refuse_rest()

    def eof_received(self) -> bool:
        # Most likely the client has hung up. One that only closed its side, and still waits for
        # the answer, looks the same and is not worth a run() for all the others.
        return False

    def pause_writing(self) -> None:
        self._may_write = False
        if self._pipeline and self._pipeline[0].is_streaming:
            self._handler.pause_stream(self._pipeline[0])

    def resume_writing(self) -> None:
        self._may_write = True
        if self._pipeline and self._pipeline[0].is_streaming:
            self._handler.resume_stream(self._pipeline[0])

    def on_message_begin(self) -> None:
        self._began = monotonic()
        self._is_in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        request = self._request
        request.target += url
        if len(request.target) > MAX_REQUEST_LINE:
            self._refuse(414, "The request line is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        size = len(name) + len(value) + 4
        self._head_bytes += size
        if size > MAX_HEADER or self._head_bytes > MAX_HEAD or len(request.headers) >= MAX_HEADERS:
            self._refuse(431, "The request headers are too large.")
        request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request = self._request
        self._is_in_head = False
        request.method = self._parser.get_method()
        request.version = self._parser.get_http_version()
        if len(request.method) + len(request.target) + 10 > MAX_REQUEST_LINE:
            self._refuse(414, "The request line is too long.")
        limit = self._handler.settings.max_body_bytes
        expects = False
        for name, value in request.headers:
            if name == b"content-length":
                if limit and value.isdigit() and int(value) > limit:
                    self._refuse(413, f"The request body is larger than {limit} bytes.")
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
        if expects and not self._pipeline:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, chunk: bytes) -> None:
        request = self._request
        request.body.append(chunk)
        request.body_bytes += len(chunk)
        limit = self._handler.settings.max_body_bytes
        if limit and request.body_bytes > limit:
            self._refuse(413, f"The request body is larger than {limit} bytes.")

    def on_message_complete(self) -> None:
        request = self._request
        request.keep_alive = self._parser.should_keep_alive()
        self._request = Request(self)
        self._began = None
        self._enqueue(request)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def finish(self, request: Request, data: bytes) -> None:
        """Writes the end of the answer to the oldest request and turns to the next."""
        request.is_answered = True
        request.is_streaming = False
        if self._transport.is_closing():
            return
        if data:
            self._transport.write(data)
        self._pipeline.popleft()
        if request.refusal is not None:
            self._linger()
        elif not request.keep_alive:
            self._reads_on = False
            self._transport.close()
        elif self._pipeline:
            self._handler.handle(self._pipeline[0])
        else:
            self._idle_since = monotonic()
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()

    def abort(self) -> None:
        """Cuts the connection: the only honest end of an answer that broke off half-way."""
        self._transport.abort()

    def close_when_done(self) -> None:
        """Takes no more requests; closes now if none is under way."""
        if self._pipeline:
            self._pipeline[-1].keep_alive = False
        elif self._began is None:
            self._transport.close()

    def sweep(self, now: float, keep_alive_seconds: float, slow_seconds: float) -> None:
        """Ends what sends too slowly (408) and what has been silent for too long."""
        if self._began is not None and self._reads_on and not self._is_paused:
            allowed = slow_seconds + self._request.body_bytes / MIN_BODY_BYTES_PER_SECOND
            if now - self._began > allowed:
                self._request.refusal = (408, "The request took too long to arrive.")
                self._refuse_rest()
        elif not self._pipeline and now - self._idle_since > keep_alive_seconds:
            self._transport.close()

    def _enqueue(self, request: Request) -> None:
        request.arrived = monotonic()
        self._pipeline.append(request)
        if len(self._pipeline) == 1:
            self._handler.handle(request)
        elif len(self._pipeline) >= MAX_PIPELINED and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _refuse(self, status: int, message: str) -> None:
        self._request.refusal = (status, message)
        raise _Refused

    def _refuse_rest(self) -> None:
        """The request being read is answered with its refusal, in its turn; reads no further."""
        self._reads_on = False
        self._is_in_head = False
        self._began = None
        request = self._request
        request.keep_alive = False
        request.body.clear()
        self._enqueue(request)

    def _linger(self) -> None:
        # Closing while the client still sends would reset the connection and lose it our answer.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)
