"""The I/O process's side of one worker: its two sockets, and what it has in hand."""

import array
import asyncio
import os
import signal
import socket
from time import monotonic
from typing import Protocol, cast

from inference_server.contract import METHOD_CODES
from inference_server.frames import (
    ANSWER,
    CANCEL,
    IN_FILE,
    INLINE_BYTES,
    REQUEST,
    STREAM_BROKEN,
    STREAM_END,
    STREAM_HEAD,
    STREAM_PART,
    WHOLE,
)
from inference_server.protocol import Request

# As many requests are put in a worker's hands as it answers in about this time.
IN_HAND_MS = 2.0
MAX_DEPTH = 8
# What a call costs the worker beyond run() itself.
CALL_OVERHEAD_MS = 0.05
SMOOTHING = 0.1
DESCRIPTOR_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)


class Results(Protocol):
    """Where answers go."""

    def answered(
        self,
        worker: "WorkerHandle",
        request: Request,
        status: int,
        flags: int,
        headers: bytes,
        body: bytes,
        took_ms: float,
    ) -> None: ...
    def stream_begins(
        self, request: Request, status: int, flags: int, headers: bytes, took_ms: float
    ) -> None: ...
    def stream_goes_on(self, worker: "WorkerHandle", request: Request, part: bytes) -> None: ...
    def stream_ends(self, worker: "WorkerHandle", request: Request, *, broken: bool) -> None: ...


class Events(Protocol):
    """Where everything else that a worker says goes."""

    def reported(
        self, worker: "WorkerHandle", kind: int, number: int, status: int, body: bytes
    ) -> None: ...


class WorkerHandle(asyncio.Protocol):
    """Requests are single messages that can be taken back; answers are a stream of frames."""

    def __init__(self, results: Results, events: Events, fixed_depth: int) -> None:
        self.pid = 0
        self.in_hand: dict[int, Request] = {}
        self.busy_since = 0.0
        self.depth = fixed_depth or 1
        self.was_killed = False
        self._results = results
        self._events = events
        self._fixed_depth = fixed_depth
        self._run_ms = IN_HAND_MS
        self.max_batch = 1
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._is_paused = False
        self._buffer = bytearray()
        self._needed = 0
        # Reading from `_reader` here takes a request back before the worker sees it.
        self._requests, self._reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answers, self._worker_answers = socket.socketpair()
        self._requests.setblocking(False)
        self._answers.setblocking(False)

    def batches(self, at_most: int) -> None:
        """The worker scores up to so many waiting requests in one call."""
        self.max_batch = at_most
        if at_most > 1:
            # One batch is in run_batch(), the next gathers in the socket.
            self._fixed_depth = self.depth = 2 * at_most

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        await loop.create_unix_connection(lambda: self, sock=self._answers)

    @property
    def worker_descriptors(self) -> tuple[int, int]:
        """The ends for the worker: requests, answers."""
        return self._reader.fileno(), self._worker_answers.fileno()

    @property
    def control(self) -> socket.socket:
        """The requests socket, over which a preloaded parent is told to fork."""
        return self._requests

    def started(self, pid: int) -> None:
        self.pid = pid
        self._worker_answers.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its type.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        start = 0
        end = len(data)
        while end - start >= ANSWER.size:
            number, kind, flags, status, header_bytes, body_bytes, took_ms = ANSWER.unpack_from(
                data, start
            )
            after = start + ANSWER.size + header_bytes + body_bytes
            if after > end:
                self._needed = after - start
                break
            body_start = start + ANSWER.size + header_bytes
            headers = data[start + ANSWER.size : body_start]
            self._receive(number, kind, flags, status, headers, data[body_start:after], took_ms)
            start = after
        else:
            self._needed = ANSWER.size
        if start < end:
            self._buffer += memoryview(data)[start:]

    def send(self, request: Request, now: float, wants_headers: bool) -> bool:
        """Puts the request in the worker's hands; false if there is no room for it now."""
        headers = b""
        if wants_headers:
            headers = b"\n".join([part for pair in request.headers for part in pair])
        size = len(request.query) + len(headers) + request.body_bytes
        flags = request.content_flags
        in_file = size > INLINE_BYTES
        head = REQUEST.pack(
            request.id,
            METHOD_CODES[request.method],
            flags | IN_FILE if in_file else flags,
            request.limit_ms,
            len(request.query),
            len(headers),
            request.body_bytes,
        )
        try:
            if in_file:
                file = request.file_of(headers)
                socket.send_fds(self._requests, [head], [file])
            else:
                self._requests.send(b"".join((head, request.query, headers, *request.body)))
        except BlockingIOError:
            return False
        except OSError:
            return False
        if not self.in_hand:
            self.busy_since = now
        self.in_hand[request.id] = request
        return True

    def take_back(self, at_most: int = 1_000) -> list[Request]:
        """The requests that the worker has not begun, oldest first; they are no longer in its hands."""
        taken: list[Request] = []
        while len(taken) < at_most:
            try:
                message, ancillary, _, _ = self._reader.recvmsg(
                    REQUEST.size, DESCRIPTOR_SPACE, socket.MSG_DONTWAIT
                )
            except OSError:
                break
            if not message:
                break
            for _, _, descriptors in ancillary:
                for descriptor in array.array("i", descriptors):
                    os.close(descriptor)
            request = self.in_hand.pop(REQUEST.unpack(message)[0])
            taken.append(request)
        return taken

    def notice_slow(self, busy_seconds: float) -> None:
        """Counts a call that has not ended yet, so that nothing more is queued behind it."""
        self._learn(busy_seconds * 1000)

    def end_stream(self, request: Request) -> None:
        """Tells the worker that nobody reads the stream it is sending."""
        self.resume()
        if not self._transport.is_closing():
            self._transport.write(CANCEL.pack(request.id))

    def pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def kill(self, number: signal.Signals) -> None:
        if self.pid:
            self.was_killed = True
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self.pid = 0

    def finish_requests(self) -> None:
        """The worker ends by itself once it has read to the end of what it was given."""
        self._requests.close()
        self._reader.close()

    def read_last_answers(self) -> None:
        """After the worker's end: what it had still sent."""
        while True:
            try:
                data = self._answers.recv(256 * 1024)
            except OSError:
                return
            if not data:
                return
            self.data_received(data)

    def close(self) -> None:
        for end in (self._requests, self._reader, self._worker_answers):
            end.close()
        if self._transport is not None:
            self._transport.abort()

    def _receive(
        self,
        number: int,
        kind: int,
        flags: int,
        status: int,
        headers: bytes,
        body: bytes,
        took_ms: float,
    ) -> None:
        if kind > STREAM_BROKEN:
            self._events.reported(self, kind, number, status, body)
            return
        request = self.in_hand[number]
        self.busy_since = monotonic()
        if kind == WHOLE:
            del self.in_hand[number]
            self._learn(took_ms)
            self._results.answered(self, request, status, flags, headers, body, took_ms)
        elif kind == STREAM_PART:
            self._results.stream_goes_on(self, request, body)
        elif kind == STREAM_HEAD:
            self._learn(IN_HAND_MS * MAX_DEPTH)
            self._results.stream_begins(request, status, flags, headers, took_ms)
        elif kind in (STREAM_END, STREAM_BROKEN):
            del self.in_hand[number]
            self._results.stream_ends(self, request, broken=kind == STREAM_BROKEN)

    def _learn(self, took_ms: float) -> None:
        if self._fixed_depth:
            return
        took_ms = max(took_ms, 0.0) + CALL_OVERHEAD_MS
        self._run_ms += SMOOTHING * (took_ms - self._run_ms)
        self.depth = max(1, min(MAX_DEPTH, int(IN_HAND_MS / self._run_ms)))
