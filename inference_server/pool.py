"""The worker processes: started, watched, replaced with growing pauses, ended."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from inference_server.contract import Contract
from inference_server.dispatch import Dispatcher
from inference_server.frames import ENDED, FAILED, FORKED, READY
from inference_server.request_log import RequestLog
from inference_server.settings import Settings
from inference_server.status import StatusFile
from inference_server.worker_handle import WorkerHandle

HERE = os.path.dirname(os.path.abspath(__file__))
START_WORKER = os.path.join(HERE, "start_worker.py")
SHIMS = os.path.join(HERE, "shims")
PAUSES_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# A worker that lived this long has earned a replacement without a pause.
STEADY_SECONDS = 10.0
# Up to this pause, callers wait for the replacement rather than being refused.
WORTH_WAITING_SECONDS = 1.0
# Where the kernel has no process descriptors, ends are looked for at this pace.
POLL_SECONDS = 0.05
END_SECONDS = 2.0


@dataclass
class Member:
    """One worker of the pool and the process behind it."""

    handle: WorkerHandle
    slot: int
    is_template: bool = False
    process: subprocess.Popen[bytes] | None = None
    is_ready: bool = False
    ready_at: float = 0.0
    failure: dict[str, Any] = field(default_factory=dict)


class Pool:
    """Keeps `worker_count` workers ready. A failure before the first was ready is final."""

    def __init__(
        self,
        settings: Settings,
        environment: dict[str, str],
        dispatcher: Dispatcher,
        contract: Contract,
        status: StatusFile,
        log: RequestLog,
        on_failure: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._dispatcher = dispatcher
        self._contract = contract
        self._status = status
        self._log = log
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._members: dict[WorkerHandle, Member] = {}
        self._template: Member | None = None
        self._forking: deque[Member] = deque()
        self._early_ends: dict[int, int] = {}
        self._failures = [0] * settings.worker_count
        self._was_ready = False
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        if self._settings.preload:
            await self._spawn(0, is_template=True)
            return
        for slot in range(self._settings.worker_count):
            await self._spawn(slot)

    async def stop(self) -> None:
        """Ends every worker: gently, by the end of its input; after two seconds, not so gently."""
        self._is_stopping = True
        members = list(self._members.values())
        for member in members:
            member.handle.finish_requests()
            if member.is_template or not member.is_ready:
                member.handle.kill(signal.SIGTERM)
        until = monotonic() + END_SECONDS
        while self._members and monotonic() < until:
            await asyncio.sleep(0.01)
        for member in list(self._members.values()):
            member.handle.kill(signal.SIGKILL)
        while any(member.process for member in self._members.values()):
            await asyncio.sleep(0.01)

    def reported(
        self, handle: WorkerHandle, kind: int, number: int, status: int, body: bytes
    ) -> None:
        """A worker's word about itself, or the template's about the workers it forks."""
        member = self._members.get(handle)
        if member is None:
            return
        if kind == FAILED:
            member.failure = json.loads(body)
        elif kind == READY and member.is_template:
            self._template = member
            for slot in range(self._settings.worker_count):
                self._later(self._spawn(slot))
        elif kind == READY:
            self._is_ready(member, json.loads(body))
        elif kind == FORKED:
            forked = self._forking.popleft()
            forked.handle.started(number)
            if number in self._early_ends:
                self._ended(forked, self._early_ends.pop(number))
        elif kind == ENDED:
            known = [one for one in self._members.values() if one.handle.pid == number]
            if known:
                self._ended(known[0], os.waitstatus_to_exitcode(status))
            else:
                self._early_ends[number] = os.waitstatus_to_exitcode(status)

    def _is_ready(self, member: Member, described: dict[str, Any]) -> None:
        member.is_ready = True
        member.ready_at = monotonic()
        if not self._was_ready:
            self._was_ready = True
            self._contract.learn(described)
        member.handle.batches(described.get("max_batch", 1))
        self._dispatcher.add(member.handle)
        self._publish(state="ready")

    async def _spawn(self, slot: int, *, is_template: bool = False) -> None:
        handle = WorkerHandle(self._dispatcher, self, self._settings.depth)
        member = Member(handle, slot, is_template)
        self._members[handle] = member
        await handle.open(self._loop)
        if self._template is not None:
            self._fork(member)
        else:
            self._execute(member)

    def _execute(self, member: Member) -> None:
        settings = self._settings
        requests, answers = member.handle.worker_descriptors
        options = {
            "requests_fd": requests,
            "answers_fd": answers,
            "parent_pid": os.getpid(),
            "app_root": settings.app_root,
            "entry_script": settings.entry_script,
            "source_dir": settings.source_dir,
            "mlflow_folder": settings.mlflow_folder,
            "model_dir": settings.model_dir,
            "model_repository": settings.model_repository,
            "max_body_bytes": settings.max_body_bytes,
            "scoring_timeout_ms": settings.scoring_timeout_ms,
            "max_batch": settings.max_batch,
            "log_level": settings.log_level,
            "debug_port": settings.debug_port,
            "debug_listen": settings.debug_listen,
            "debug_waits": settings.debug_waits,
            "shims": SHIMS,
            "preload": member.is_template,
        }
        try:
            member.process = subprocess.Popen(
                [settings.python, START_WORKER, json.dumps(options)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                # Each worker gets its own two sockets and nobody else's.
                pass_fds=(requests, answers),
            )
        except OSError as error:
            member.failure = {
                "code": "UserScriptInitFailed",
                "message": f"The interpreter {settings.python} cannot be started: {error.strerror}",
                "evidence": [],
            }
            self._ended(member, 1)
            return
        member.handle.started(member.process.pid)
        self._watch(member)

    def _fork(self, member: Member) -> None:
        assert self._template is not None
        self._forking.append(member)
        socket.send_fds(
            self._template.handle.control, [b"f"], list(member.handle.worker_descriptors)
        )

    def _watch(self, member: Member) -> None:
        """Calls `_ended` once the process has ended, even if its children keep its sockets open."""
        assert member.process is not None
        try:
            descriptor = os.pidfd_open(member.process.pid)
        except OSError:
            self._poll(member)
            return

        def on_end() -> None:
            assert member.process is not None
            code = member.process.poll()
            if code is not None:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
                self._ended(member, code)

        self._loop.add_reader(descriptor, on_end)

    def _poll(self, member: Member) -> None:
        assert member.process is not None
        code = member.process.poll()
        if code is None:
            self._loop.call_later(POLL_SECONDS, self._poll, member)
        else:
            self._ended(member, code)

    def _ended(self, member: Member, code: int) -> None:
        member.handle.read_last_answers()
        del self._members[member.handle]
        member.handle.pid = 0
        if member is self._template:
            self._lose_template()
        if not self._is_stopping:
            self._report_end(member, code)
        self._dispatcher.lost(member.handle)
        member.handle.close()
        if not self._is_stopping:
            self._replace(member)

    def _lose_template(self) -> None:
        """The kernel ends the workers it had forked; nobody is left to tell us so."""
        self._template = None
        self._forking.clear()
        for forked in [one for one in self._members.values() if one.process is None]:
            forked.handle.kill(signal.SIGKILL)
            self._ended(forked, -signal.SIGKILL)

    def _report_end(self, member: Member, code: int) -> None:
        failure = member.failure or _failure_of(code, member)
        self._log.line("E", f"Worker ended: {failure['message']}")
        if self._was_ready:
            self._publish(**failure)
        else:
            self._status.change(state="failed", **failure)

    def _replace(self, member: Member) -> None:
        if not self._was_ready:
            self._is_stopping = True
            self._on_failure()
            return
        lived = monotonic() - member.ready_at if member.is_ready else 0.0
        slot = member.slot
        self._failures[slot] = 0 if lived > STEADY_SECONDS else self._failures[slot] + 1
        pause = PAUSES_SECONDS[min(max(self._failures[slot] - 1, 0), len(PAUSES_SECONDS) - 1)]
        self._dispatcher.expects_worker = pause <= WORTH_WAITING_SECONDS
        if not self._dispatcher.expects_worker:
            self._dispatcher.give_up_waiting()
        self._publish(restarts=self._status.status.restarts + 1)
        self._later(self._respawn(slot, pause, is_template=member.is_template))

    async def _respawn(self, slot: int, pause_seconds: float, *, is_template: bool) -> None:
        await asyncio.sleep(pause_seconds)
        if self._is_stopping:
            return
        if is_template:
            await self._spawn(0, is_template=True)
            return
        is_taken = any(one.slot == slot and not one.is_template for one in self._members.values())
        # A new template brings up all its workers by itself.
        if not is_taken and (not self._settings.preload or self._template is not None):
            await self._spawn(slot)

    def _publish(self, **changes: Any) -> None:
        ready = len(self._dispatcher.workers)
        if ready and self._status.status.state == "starting":
            changes.setdefault("state", "ready")
        self._status.change(ready_workers=ready, **changes)

    def _later(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _failure_of(code: int, member: Member) -> dict[str, Any]:
    """A sentence for an end that the worker could not tell us about itself."""
    when = "while it served" if member.is_ready else "before init() had finished"
    if code == -signal.SIGKILL and not member.handle.was_killed:
        message = f"A worker was killed {when}, most likely for want of memory"
        return {"code": "OutOfMemory", "message": message, "evidence": []}
    how = f"ended with exit code {code}"
    if member.handle.was_killed:
        how = "was ended because run() took too long and could not be interrupted"
    elif code < 0:
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(-code).name}"
    name = "WorkerLost" if member.is_ready else "UserScriptInitFailed"
    return {"code": name, "message": f"A worker {how} {when}", "evidence": []}
