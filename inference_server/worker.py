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
import signal
import socket
import sys
import time
import traceback
from types import FrameType
from typing import Any

from inference_server.alarm import ScoringTimeout, raise_scoring_timeout
from inference_server.answers import (
    INTERNAL_ERROR,
    SCRIPT_FAILED,
    send,
    send_message,
    send_output,
)
from inference_server.batches import Batches
from inference_server.debugger import attach_debugger, await_debugger
from inference_server.frames import ENDED, FAILED, FORKED, READY, RUN_FAILED, TIMED_OUT
from inference_server.inbox import Inbox
from inference_server.scoring_request import BadRequest, Request
from inference_server.scoring_script import Script
from inference_server.start_failure import CannotStart, missing_module
from inference_server.worker_log import configure_logging

EXIT_CANNOT_START = 3
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
    try:
        if options["debug_port"]:
            attach_debugger(options["debug_port"])
        if options["debug_listen"]:
            await_debugger(*options["debug_listen"], waits=options["debug_waits"])
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
    if options.get("mlflow_folder"):
        # Most workers serve a script, and need not load this.
        model: Script = importlib.import_module("inference_server.mlflow_model").MlflowModel(
            options
        )
        return model
    if not options.get("model_repository"):
        return Script(options)
    try:
        models = importlib.import_module("inference_server.v2_models")
    except ModuleNotFoundError as error:
        missing = missing_module(error)
        raise CannotStart(
            "UserScriptImportError",
            f"Serving a model repository needs {missing}, which is not in the environment",
        ) from error
    script: Script = models.Repository(options)
    return script


def serve(requests: socket.socket, answers: socket.socket, script: Script) -> None:
    """Answers until the I/O process closes the requests socket or ends."""
    send(answers, 0, READY, json.dumps(script.description()).encode())
    logger.info("Worker with pid %s ready for serving traffic", os.getpid())
    inbox = Inbox(requests)
    batches = Batches(script) if script.run_batch is not None else None
    while True:
        request = inbox.wait()
        if request is None:
            return
        if batches is not None:
            together = inbox.gather(request, batches.at_most())
            if len(together) > 1:
                answer_batch(answers, script, batches, together)
                continue
        answer_one(answers, script, request)


def answer_batch(
    answers: socket.socket, script: Script, batches: Batches, together: list[Request]
) -> None:
    """Scores in one call what waited together; what that does not settle, one by one."""
    again: list[Request] = []
    for request in batches.answer(answers, together):
        # One that hangs should not use up the time of those behind it: it gets the rest after them.
        request.is_cut_short = request.limit_ms < script.scoring_timeout_ms
        try:
            answer_in_time(answers, script, request, 0.5 if request.is_cut_short else 1.0)
        except ScoringTimeout:
            again.append(request)
    for request in again:
        request.is_cut_short = False
        answer_in_time(answers, script, request, 1.0)


def answer_in_time(answers: socket.socket, script: Script, request: Request, share: float) -> None:
    left_ms = script.time_left_ms(request)
    if left_ms > 0:
        request.call_ms = share * left_ms
        answer_one(answers, script, request)
    else:
        send_timeout(answers, script, request)


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
            signal.setitimer(signal.ITIMER_REAL, request.call_ms / 1000)
            started = time.perf_counter()
            output = script.run(**arguments)
            took_ms = (time.perf_counter() - started) * 1000
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except ScoringTimeout:
        if request.is_cut_short:
            raise
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_timeout(answers, script, request)
    except BadRequest as refusal:
        send_message(answers, request, refusal.status, refusal.message)
    except BaseException:
        logger.error("Encountered Exception: %s", traceback.format_exc())
        send_message(answers, request, 500, SCRIPT_FAILED, RUN_FAILED)
    else:
        send_output(answers, request, output, took_ms, environment)


def send_timeout(answers: socket.socket, script: Script, request: Request) -> None:
    message = f"Scoring timeout after {script.scoring_timeout_ms} ms"
    send_message(answers, request, 500, message, RUN_FAILED | TIMED_OUT)


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
