"""Micro-batches: what waits in a worker's hands is scored by one call of the script's run_batch().

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
import traceback
from typing import Any

from inference_server.alarm import ScoringTimeout
from inference_server.answers import (
    INTERNAL_ERROR,
    SCRIPT_FAILED,
    is_response,
    message_frame,
    output_frame,
    send_output,
    send_parts,
)
from inference_server.frames import RUN_FAILED
from inference_server.scoring_request import BadRequest, Request
from inference_server.scoring_script import Script

# A batch gets this part of the time that its first request has left, so that the requests can
# still be scored one by one if one of them turns out to hold up all the others.
SHARE_OF_TIME = 0.5
# So many requests are put together as usually take this part of the time that a batch gets.
USUAL_SHARE = 0.5
SMOOTHING = 0.1

logger = logging.getLogger("azmlinfsrv")


class Batches:
    """Calls run_batch(), and gives each request the answer that it would have had alone."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._most = script.max_batch
        self._ms_each = 0.0
        self._allowed_ms = float(script.scoring_timeout_ms)

    def at_most(self) -> int:
        """How many requests may be scored together, so that slow ones do not run out of time."""
        if not self._ms_each:
            return self._most
        return max(1, min(self._most, int(USUAL_SHARE * self._allowed_ms / self._ms_each)))

    def answer(self, answers: socket.socket, together: list[Request]) -> list[Request]:
        """Answers what it can, and returns the requests that have yet to be scored, one by one."""
        inputs: list[Any] = []
        scored: list[Request] = []
        frames: list[bytes] = []
        for request in together:
            try:
                inputs.append(self._script.batch_input(request))
                scored.append(request)
            except BadRequest as refusal:
                frames += message_frame(request, refusal.status, refusal.message)
            except Exception:
                logger.error("Encountered Exception: %s", traceback.format_exc())
                frames += message_frame(request, 500, INTERNAL_ERROR)
        if frames:
            send_parts(answers, *frames)
        if len(scored) < 2:
            return scored
        began = time.perf_counter()
        outputs = self._call(scored, inputs)
        took_ms = (time.perf_counter() - began) * 1000
        self._learn(took_ms / len(scored))
        if outputs is None:
            return scored
        self._send(answers, scored, outputs, took_ms)
        return []

    def _call(self, scored: list[Request], inputs: list[Any]) -> list[Any] | None:
        script = self._script
        assert script.run_batch is not None
        arguments: dict[str, Any] = {"inputs": inputs}
        if script.batch_wants_headers:
            arguments["request_headers"] = [request.headers() for request in scored]
        least_ms = min(script.time_left_ms(request) for request in scored)
        self._allowed_ms = max(1.0, SHARE_OF_TIME * least_ms)
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, self._allowed_ms / 1000)
                if script.app is None:
                    outputs = script.run_batch(**arguments)
                else:
                    with script.app.app_context():
                        outputs = script.run_batch(**arguments)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if isinstance(outputs, (list, tuple)) and len(outputs) == len(inputs):
                return list(outputs)
            size = f" of {len(outputs)}" if isinstance(outputs, (list, tuple)) else ""
            logger.error(
                "run_batch() got %s inputs and returned a %s%s instead of a list of as many outputs; "
                "run() is called for each",
                len(inputs),
                type(outputs).__name__,
                size,
            )
        except ScoringTimeout:
            logger.warning(
                "run_batch() took more than %d ms for %s inputs; run() is called for each",
                self._allowed_ms,
                len(inputs),
            )
        except BaseException:
            logger.error(
                "run_batch() failed for %s inputs; run() is called for each. "
                "Encountered Exception: %s",
                len(inputs),
                traceback.format_exc(),
            )
        return None

    def _send(
        self, answers: socket.socket, scored: list[Request], outputs: list[Any], took_ms: float
    ) -> None:
        """All that is ready at once, then the responses, of which some may be long streams."""
        frames: list[bytes] = []
        responses: list[tuple[Request, Any]] = []
        for place, request in enumerate(scored):
            output = outputs[place]
            if isinstance(output, BadRequest):
                frames += message_frame(request, output.status, output.message)
            elif isinstance(output, BaseException):
                logger.error("Encountered Exception: %s", text_of(output))
                frames += message_frame(request, 500, SCRIPT_FAILED, RUN_FAILED)
            elif is_response(output):
                responses.append((request, output))
            else:
                frames += output_frame(request, output, took_ms)
        if frames:
            send_parts(answers, *frames)
        for request, output in responses:
            send_output(answers, request, output, took_ms, None)

    def _learn(self, ms_each: float) -> None:
        if not self._ms_each:
            self._ms_each = ms_each
        self._ms_each += SMOOTHING * (ms_each - self._ms_each)


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
