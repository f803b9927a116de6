"""One worker process: loads the scoring script, answers one request at a time, in its main thread.

It runs in the deployment's own interpreter (standard library, Python 3.8 to 3.13), started by
`start_worker.py`. It talks to the I/O process over two sockets:

* requests, a SEQPACKET pair: one message is one request. The I/O process keeps a copy of the
  reading end and can take back, exactly once, what this process has not begun.
* answers, a STREAM pair: frames of `ANSWER`. The I/O process sends one byte back to end a stream.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import logging
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any, NoReturn

from inference_server.frames import (
    ANSWER,
    ENDED,
    FAILED,
    FORKED,
    IN_FILE,
    INLINE_BYTES,
    OWN_HEADERS,
    READY,
    REQUEST,
    RUN_FAILED,
    STREAM_BROKEN,
    STREAM_END,
    STREAM_HEAD,
    STREAM_PART,
    TIMED_OUT,
    WHOLE,
)
from inference_server.scoring_request import BadRequest, Request
from inference_server.scoring_script import Script
from inference_server.start_failure import CannotStart
from inference_server.worker_log import configure_logging

EXIT_CANNOT_START = 3
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


def main() -> None:
    options = json.loads(sys.argv[1])
    sys.argv[:] = [sys.argv[0]]
    end_with_parent(options["parent_pid"])
    faulthandler.enable()
    # Ctrl-C reaches the whole foreground group; the I/O process decides when this one ends.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGALRM, raise_scoring_timeout)
    answers = socket.socket(fileno=options["answers_fd"])
    if options["debug_port"]:
        debugger: Any = importlib.import_module("debugpy")
        debugger.connect(options["debug_port"])
        debugger.wait_for_client()
    try:
        configure_logging(options)
        script = open_script(options)
        script.init(options.get("model_dir") or "")
    except CannotStart as failure:
        report = {"code": failure.code, "message": failure.message, "evidence": failure.evidence}
        send(answers, 0, FAILED, json.dumps(report).encode())
        sys.exit(EXIT_CANNOT_START)
    # What init() made is there to stay: no collector need walk it, and a fork keeps it shared.
    gc.collect()
    gc.freeze()
    if options["preload"]:
        fork_on_demand(socket.socket(fileno=options["requests_fd"]), answers, script)
    else:
        serve(socket.socket(fileno=options["requests_fd"]), answers, script)


def open_script(options: dict[str, Any]) -> Script:
    """What run() is called on: the scoring script, or what serves models that need none."""
    if not options.get("mlflow_folder"):
        return Script(options)
    # Most workers serve a script, and need not load this.
    served = importlib.import_module("inference_server.mlflow_model")
    model: Script = served.MlflowModel(options)
    return model


def serve(requests: socket.socket, answers: socket.socket, script: Script) -> None:
    """Answers until the I/O process closes the requests socket or ends."""
    send(answers, 0, READY, json.dumps(script.description()).encode())
    logger.info("Worker with pid %s ready for serving traffic", os.getpid())
    buffer = bytearray(INLINE_BYTES + REQUEST.size)
    view = memoryview(buffer)
    buffers = [buffer]
    descriptor_space = socket.CMSG_SPACE(array.array("i").itemsize)
    while True:
        size, ancillary, _, _ = requests.recvmsg_into(buffers, descriptor_space)
        if not size:
            return
        fields = REQUEST.unpack_from(buffer)
        whole = memoryview(read_attached(ancillary)) if fields[2] & IN_FILE else None
        content = view[REQUEST.size : size] if whole is None else whole
        answer_one(answers, script, Request(fields, content))


def answer_one(answers: socket.socket, script: Script, request: Request) -> None:
    """Calls run() for one request and sends what it gives, or what went wrong."""
    if script.app is not None:
        environment = request.wsgi_environment()
        with script.app.request_context(environment) as context:
            arguments = {script.parameters[0].name: context.request} if script.is_raw else None
            call_run(answers, script, request, arguments, environment)
    else:
        call_run(answers, script, request, None, None)


def call_run(
    answers: socket.socket,
    script: Script,
    request: Request,
    arguments: dict[str, Any] | None,
    environment: dict[str, Any] | None,
) -> None:
    try:
        if arguments is None:
            arguments = script.arguments(request)
        if script.wants_headers:
            arguments["request_headers"] = request.headers()
    except BadRequest as refusal:
        send_message(answers, request, refusal.status, refusal.message)
        return
    except Exception:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_message(answers, request, 500, INTERNAL_ERROR)
        return
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, request.limit_ms / 1000)
            started = time.perf_counter()
            output = script.run(**arguments)
            took_ms = (time.perf_counter() - started) * 1000
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except ScoringTimeout:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        message = f"Scoring timeout after {script.scoring_timeout_ms} ms"
        send_message(answers, request, 500, message, RUN_FAILED | TIMED_OUT)
    except BadRequest as refusal:
        send_message(answers, request, refusal.status, refusal.message)
    except BaseException:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_message(answers, request, 500, SCRIPT_FAILED, RUN_FAILED)
    else:
        send_output(answers, request, output, took_ms, environment)


def send_output(
    answers: socket.socket,
    request: Request,
    output: Any,
    took_ms: float,
    environment: dict[str, Any] | None,
) -> None:
    try:
        flask = sys.modules.get("flask")
        if flask is not None and isinstance(output, flask.Response):
            send_response(answers, request, output, took_ms, environment)
            return
        body = b"{}" if output is None else json.dumps(output).encode()
    except Exception:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_message(answers, request, 500, INTERNAL_ERROR)
    else:
        send(answers, request.id, WHOLE, body, took_ms=took_ms)


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
            if is_cancelled(answers):
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


def is_cancelled(answers: socket.socket) -> bool:
    """Whether the I/O process said that nobody reads this stream any more."""
    try:
        return answers.recv(64, socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return False


def send_message(
    answers: socket.socket, request: Request, status: int, message: str, flags: int = 0
) -> None:
    send(answers, request.id, WHOLE, json.dumps({"message": message}).encode(), flags, status)


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
    try:
        if len(body) > INLINE_BYTES:
            answers.sendall(head + headers)
            answers.sendall(body)
        else:
            answers.sendall(head + headers + body)
    except (BrokenPipeError, ConnectionResetError):
        # Nobody is left to answer to. No clean-up of the script's may hold this process.
        os._exit(0)


def read_attached(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """All of the memory file whose descriptor came with a message."""
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    with open(descriptors[0], "rb", buffering=0) as file:
        file.seek(0)
        return file.readall()


class ScoringTimeout(TimeoutError):
    """Raised inside run() by the alarm."""


def fork_on_demand(orders: socket.socket, reports: socket.socket, script: Script) -> None:
    """The preloaded parent: forks a worker for each pair of sockets sent, and reports its end."""

    def report_ends(number: int, frame: FrameType | None) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            send(reports, pid, ENDED, b"", status=status)

    signal.signal(signal.SIGCHLD, report_ends)
    send(reports, 0, READY, b"{}")
    space = socket.CMSG_SPACE(2 * array.array("i").itemsize)
    own_pid = os.getpid()
    while True:
        message, ancillary, _, _ = orders.recvmsg(1, space)
        if not message:
            return
        requests_fd, answers_fd = array.array("i", ancillary[0][2])
        # A report in the middle of another would garble both.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            orders.close()
            reports.close()
            end_with_parent(own_pid)
            serve(socket.socket(fileno=requests_fd), socket.socket(fileno=answers_fd), script)
            return
        os.close(requests_fd)
        os.close(answers_fd)
        send(reports, pid, FORKED, b"")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def end_with_parent(parent_pid: int) -> None:
    """Has the kernel end this process when its parent ends, however that happens."""
    set_parent_death_signal = 1
    # Without it, the end of the requests socket says the same, once run() returns.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)


def raise_scoring_timeout(number: int, frame: FrameType | None) -> NoReturn:
    raise ScoringTimeout
