"""Micro-batches: what waits is scored in one call, and each caller gets the answer it would get alone."""

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.inference_server.serving import (
    OTHER_SERVER,
    Reply,
    Serve,
    Served,
    read_all,
    read_reply,
    until,
    wait_until_healthy,
)
from tests.inference_server.test_workers import interpreters

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")

# An answer tells who gave it, and in which company; some inputs go wrong in a way of their own.
BATCHED = """
import json, os, signal, time

def init():
    pass

def run(data):
    what = json.loads(data)
    if what.get("do") in ("raise", "raise-alone"):
        raise ValueError("this one only")
    while what.get("do") == "hang":
        time.sleep(0.01)
    return {"n": what.get("n"), "by": "run", "pid": os.getpid()}

def run_batch(inputs):
    whats = [json.loads(one) for one in inputs]
    numbers = [what["n"] for what in whats]
    does = {what.get("do") for what in whats}
    if "wait" in does:
        with open("in-batch", "w") as file:
            file.write(json.dumps([os.getpid(), numbers]))
        os.rename("in-batch", "began")
        while not os.path.exists("gate"):
            time.sleep(0.005)
    if "raise" in does:
        raise ValueError("spoils it for all")
    if "exit" in does:
        os._exit(7)
    if "stuck" in does:
        import ctypes
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ctypes.PyDLL(None).sleep(60)
    while "hang" in does:
        time.sleep(0.01)
    outputs = [
        ValueError("only for one") if what.get("do") == "raise-alone"
        else {1, 2} if what.get("do") == "set"
        else {"n": what["n"], "by": "run_batch", "with": numbers, "pid": os.getpid()}
        for what in whats
    ]
    return outputs[1:] if "short" in does else outputs
"""
RESPONSES = """
from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import Response

def init():
    pass

def run(data):
    return answer(data, 1)

def run_batch(inputs):
    return [answer(one, len(inputs)) for one in inputs]

def answer(data, together):
    if data == "teapot":
        return AMLResponse(f"{together > 1}", 418, {"X-Own": "mine"})
    if data == "stream":
        return Response((f"part {n}, " for n in range(3)), mimetype="text/plain")
    if data == "broken":
        def parts():
            yield "begun, "
            raise ValueError("half-way")
        return Response(parts(), mimetype="text/plain")
    return together > 1
"""
NAMED = """
from inference_schema.schema_decorators import input_schema
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

def init():
    pass

@input_schema("a", StandardPythonParameterType(1))
@input_schema("b", StandardPythonParameterType(1))
def run(a, b=5):
    return a + b

def run_batch(inputs, request_headers):
    return [
        [one["a"] + one["b"], headers["X-Own"]]
        for one, headers in zip(inputs, request_headers)
    ]
"""


class Together:
    """Requests that all wait before the worker may look at the first of them."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.pid = served.post_json({}).json()["pid"] if "pid" in served_script(served) else 0
        self.worker = self.pid or served.worker_pids()[0]

    def send(self, *bodies: Any, **headers: str) -> "list[Caller]":
        """One connection for each body (a dict gets its place as `n`), in this order."""
        os.kill(self.worker, signal.SIGSTOP)
        until(lambda: state_of(self.worker) == "T", 5, "stopped worker")
        callers = []
        try:
            for number, body in enumerate(bodies):
                data = json.dumps({"n": number, **body}) if isinstance(body, dict) else body
                callers.append(Caller(self.served, data, {"x-request-id": str(number), **headers}))
            # Answered after everything that was sent before it has been read.
            assert self.served.call("GET", "/").status == 200
        finally:
            os.kill(self.worker, signal.SIGCONT)
        return callers


class Caller:
    """A request on a connection of its own, whose answer is read when it is asked for."""

    def __init__(self, served: Served, body: str | bytes, headers: dict[str, str]) -> None:
        data = body.encode() if isinstance(body, str) else body
        named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.connection = served.connect()
        self.connection.sendall(
            f"POST /score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{named}"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )

    def all_bytes(self) -> bytes:
        """What comes until the server has no more to say."""
        with self.connection:
            return read_all(self.connection)

    def reply(self) -> Reply:
        """The answer; fails if there is a second one."""
        with self.connection, self.connection.makefile("rb") as file:
            found = read_reply(file)
            self.connection.shutdown(socket.SHUT_WR)
            assert file.read() == b""
            return found


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def served_script(served: Served) -> str:
    return (served.folder / "score.py").read_text()


@pytest.fixture
def batched(start: Serve) -> Callable[..., Together]:
    def begin(script: str = BATCHED, *flags: str, **variables: str) -> Together:
        served = start(script, *flags, environment=variables)
        wait_until_healthy(served)
        return Together(served)

    return begin


def test_what_waits_is_scored_in_one_call_in_the_order_it_came(
    batched: Callable[..., Together],
) -> None:
    together = batched()
    replies = [caller.reply() for caller in together.send(*[{}] * 12)]
    assert [reply.status for reply in replies] == [200] * 12
    assert [reply.header("x-request-id") for reply in replies] == [str(n) for n in range(12)]
    assert [reply.json()["n"] for reply in replies] == list(range(12))
    assert {reply.json()["by"] for reply in replies} == {"run_batch"}
    assert replies[0].json()["with"] == sorted(replies[0].json()["with"])
    assert all(reply.header("x-ms-run-function-failed") == "False" for reply in replies)
    assert all(float(reply.header("x-ms-run-fn-exec-ms") or 0) > 0 for reply in replies)
    until(lambda: together.served.log.count("POST /score 200") == 13, 5, "a line for each request")


def test_a_request_that_comes_alone_goes_to_run(batched: Callable[..., Together]) -> None:
    served = batched().served
    assert {served.post_json({"n": 1}).json()["by"] for _ in range(3)} == {"run"}
    served.wait_for_log("Micro-batches: run_batch() is called for up to 32 waiting requests")


def test_no_more_are_scored_together_than_is_set(batched: Callable[..., Together]) -> None:
    callers = batched(PORTICO_MAX_BATCH="4").send(*[{}] * 11)
    sizes = [len(caller.reply().json().get("with", [0])) for caller in callers]
    assert max(sizes) == 4


def test_a_setting_turns_batches_off(batched: Callable[..., Together]) -> None:
    together = batched(PORTICO_MAX_BATCH="1")
    assert {caller.reply().json()["by"] for caller in together.send(*[{}] * 5)} == {"run"}
    assert "Micro-batches" not in together.served.log


@pytest.mark.parametrize("value", ["0", "257", "many"])
def test_an_impossible_size_is_refused_at_start(start: Serve, value: str) -> None:
    served = start(BATCHED, environment={"PORTICO_MAX_BATCH": value})
    assert served.process.wait(20) == 3
    assert "PORTICO_MAX_BATCH is " in served.log


class TestOneGoesWrong:
    def test_an_exception_among_the_outputs_is_that_callers_only(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched()
        one, bad, other = together.send({}, {"do": "raise-alone"}, {})
        failed = bad.reply()
        assert (failed.status, failed.header("x-ms-run-function-failed")) == (500, "True")
        assert failed.message.startswith("An unexpected error occurred in scoring script.")
        assert {one.reply().json()["by"], other.reply().json()["by"]} == {"run_batch"}
        together.served.wait_for_log("ValueError: only for one")

    def test_a_call_that_raises_is_done_again_one_by_one(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched()
        one, bad, other = together.send({}, {"do": "raise"}, {})
        failed = bad.reply()
        assert (failed.status, failed.header("x-ms-run-function-failed")) == (500, "True")
        assert [one.reply().json()["by"], other.reply().json()["by"]] == ["run", "run"]
        together.served.wait_for_log("run_batch() failed for 3 inputs; run() is called for each")

    def test_a_list_of_another_length_is_not_given_to_anyone(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched()
        replies = [caller.reply().json() for caller in together.send({"do": "short"}, {}, {})]
        assert [(reply["n"], reply["by"]) for reply in replies] == [
            (0, "run"),
            (1, "run"),
            (2, "run"),
        ]
        together.served.wait_for_log("got 3 inputs and returned a list of 2 instead of a list")

    def test_an_output_that_is_no_json_is_that_callers_only(
        self, batched: Callable[..., Together]
    ) -> None:
        one, bad, other = batched().send({}, {"do": "set"}, {})
        failed = bad.reply()
        assert (failed.status, failed.header("x-ms-run-function-failed")) == (500, "False")
        assert [one.reply().status, other.reply().status] == [200, 200]

    def test_an_input_that_cannot_be_read_never_gets_there(
        self, batched: Callable[..., Together]
    ) -> None:
        one, bad, other = batched().send({}, b"\xff", {})
        assert bad.reply().status == 400
        assert one.reply().json()["with"] == [0, 2]
        assert other.reply().status == 200

    def test_a_caller_that_goes_away_takes_nobody_along(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched()
        one, gone, other = together.send({}, {"do": "wait"}, {})
        until((together.served.folder / "began").exists, 10, "start of run_batch()")
        gone.connection.close()
        (together.served.folder / "gate").touch()
        assert [one.reply().json()["n"], other.reply().json()["n"]] == [0, 2]
        assert together.served.post_json({}).status == 200


class TestTheWorkerEnds:
    def test_a_crash_costs_those_in_the_call_only(self, batched: Callable[..., Together]) -> None:
        together = batched(PORTICO_MAX_BATCH="4")
        callers = together.send({"do": "exit"}, {}, {}, {}, {}, {}, {}, {})
        replies = [caller.reply() for caller in callers]
        assert [reply.status for reply in replies] == [502] * 4 + [200] * 4
        assert replies[1].message == "The worker process ended while it handled the request."
        assert all(reply.json()["pid"] != together.pid for reply in replies[4:])

    @pytest.mark.parametrize("preload", ["false", "true"])
    def test_a_kill_is_told_to_each_of_them_once(
        self, batched: Callable[..., Together], preload: str
    ) -> None:
        together = batched(PORTICO_MAX_BATCH="4", WORKER_PRELOAD=preload)
        callers = together.send({"do": "wait"}, *[{}] * 9)
        began = together.served.folder / "began"
        until(began.exists, 10, "start of run_batch()")
        pid, numbers = json.loads(began.read_text())
        (together.served.folder / "gate").touch()
        os.kill(pid, signal.SIGKILL)
        replies = [caller.reply() for caller in callers]
        lost = {number for number, reply in enumerate(replies) if reply.status == 502}
        assert lost in (set(numbers), set())  # the gate may have been quicker than the signal
        assert Counter(reply.status for reply in replies)[200] == 10 - len(lost)
        together.served.wait_for_status(restarts=1, ready_workers=1)


class TestTimeOut:
    def test_one_that_hangs_leaves_the_others_their_time(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched(BATCHED, "--request_timeout_ms", "3000")
        one, slow, other = together.send({}, {"do": "hang"}, {})
        assert one.reply().json()["by"] == "run"
        late = slow.reply()
        assert (late.status, late.message) == (
            408,
            "The deployment did not answer within 3000 ms.",
        )
        assert other.reply().json()["by"] == "run"
        assert together.served.post_json({}).json()["pid"] == together.pid

    def test_the_limit_of_a_call_is_that_of_each_of_them(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched(SCORING_TIMEOUT_MS="600")
        one, slow, other = together.send({}, {"do": "hang"}, {})
        failed = slow.reply()
        assert (failed.status, failed.message) == (500, "Scoring timeout after 600 ms")
        assert [one.reply().json()["by"], other.reply().json()["by"]] == ["run", "run"]
        together.served.wait_for_log("run_batch() took more than 300 ms for 3 inputs")

    def test_a_call_that_feels_no_alarm_is_cut(self, batched: Callable[..., Together]) -> None:
        together = batched(SCORING_TIMEOUT_MS="300")
        callers = together.send({"do": "stuck"}, {}, {})
        assert {caller.reply().status for caller in callers} == {502}
        assert together.served.post_json({}).json()["pid"] != together.pid


def test_several_workers_share_what_comes_and_mix_nothing_up(start: Serve) -> None:
    served = start(BATCHED, "--worker_count", "2", "--max_queue", "1000")
    wait_until_healthy(served)
    served.wait_for_status(ready_workers=2)
    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(lambda n: served.post_json({"n": n}).json(), range(600)))
    assert [reply["n"] for reply in replies] == list(range(600))
    assert len({reply["pid"] for reply in replies}) == 2


def test_large_bodies_are_scored_together_too(batched: Callable[..., Together]) -> None:
    callers = batched().send(*[{"padding": "x" * 100_000}] * 5)
    replies = [caller.reply().json() for caller in callers]
    assert [reply["n"] for reply in replies] == list(range(5))
    assert any(len(reply.get("with", [])) > 1 for reply in replies)


class TestOtherKindsOfScript:
    def test_each_output_may_be_a_response_of_its_own(
        self, batched: Callable[..., Together]
    ) -> None:
        plain, teapot, stream, last = batched(RESPONSES).send(
            "x", "teapot", "stream", "y", connection="close"
        )
        found = teapot.reply()
        assert (found.status, found.body, found.header("X-Own")) == (418, b"True", "mine")
        text = stream.all_bytes()
        assert b"200 OK" in text and b"chunked" in text and b"part 2, " in text
        assert [plain.reply().json(), last.reply().json()] == [True, True]

    def test_a_stream_that_breaks_off_is_that_callers_only(
        self, batched: Callable[..., Together]
    ) -> None:
        together = batched(RESPONSES)
        broken, plain = together.send("broken", "x", connection="close")
        assert plain.reply().json() is True
        assert not broken.all_bytes().endswith(b"0\r\n\r\n")

    def test_with_a_schema_the_inputs_have_names(self, batched: Callable[..., Together]) -> None:
        together = batched(NAMED)
        bodies = ['{"a": 1, "b": 2}', '{"b": 1}', '{"a": 3}']
        one, bad, last = together.send(*bodies, **{"x-own": "here"})
        assert one.reply().json() == [3, "here"]
        assert bad.reply().status == 400
        assert last.reply().json() == [8, "here"]
        assert "paths" in together.served.call("GET", "/swagger.json").json()

    def test_a_function_for_another_purpose_is_left_alone(
        self, batched: Callable[..., Together]
    ) -> None:
        script = BATCHED.replace("def run_batch(inputs):", "def run_batch(frame, inputs=()):")
        together = batched(script)
        assert {caller.reply().json()["by"] for caller in together.send(*[{}] * 4)} == {"run"}
        together.served.wait_for_log("run_batch() is not used for micro-batches: it takes (frame")

    def test_rawhttp_gets_its_requests_one_by_one(self, start: Serve) -> None:
        served = start(
            "from azureml_inference_server_http.api.aml_request import rawhttp\n"
            "def init(): pass\n@rawhttp\ndef run(request): return request.method\n"
            "def run_batch(inputs): return [None for one in inputs]"
        )
        wait_until_healthy(served)
        gate = threading.Barrier(8)

        def call(number: int) -> Any:
            gate.wait(10)
            return served.call(body="x").json()

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(call, range(8))) == ["POST"] * 8
        served.wait_for_log("run_batch() is not used for micro-batches: run() is @rawhttp")


@pytest.mark.parametrize("minor", sorted(set(interpreters()) & {f"3.{n}" for n in range(8, 14)}))
def test_batches_work_in_every_supported_python(start: Serve, minor: str) -> None:
    served = start(BATCHED, "--python", interpreters()[minor])
    wait_until_healthy(served)
    one, raising, other = Together(served).send({}, {"do": "raise-alone"}, {})
    assert (one.reply().json()["with"], raising.reply().status) == ([0, 1, 2], 500)
    assert other.reply().json()["by"] == "run_batch"
