"""One bounded queue before all the workers, and every clock that ends a wait."""

import asyncio
import signal
from collections import deque
from time import monotonic

from inference_server.contract import Contract
from inference_server.frames import OWN_HEADERS
from inference_server.protocol import Request
from inference_server.settings import Settings
from inference_server.worker_handle import WorkerHandle

TICK_SECONDS = 0.01
# The alarm in the worker comes first; code that does not feel it is cut this much later.
KILL_AFTER_ALARM_SECONDS = 1.0
# A request handed to a worker that turns out to be slow is taken back after this.
TAKE_BACK_AFTER_SECONDS = 0.005
FULL = "The deployment has too many pending requests. Try again later."
WAITED = "The request waited in the queue for more than {} ms. Try again later."
NOT_READY = "No worker is ready to take the request."
LOST = "The worker process ended while it handled the request."
RETRY_AFTER = b"retry-after: 1\r\n"


class Dispatcher:
    """Bounds are exact: `max_concurrent_requests` run, `max_queue` wait, the next one is refused."""

    def __init__(
        self, settings: Settings, contract: Contract, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.workers: list[WorkerHandle] = []
        # Set while a replacement is so near that waiting for it is better than a refusal.
        self.expects_worker = False
        self._settings = settings
        self._contract = contract
        self._loop = loop
        self._queue: deque[Request] = deque()
        self._last_id = 0
        self._admitted = 0
        self._running_limit = settings.max_concurrent_requests or settings.worker_count
        self._admission_limit = self._running_limit + settings.max_queue
        self._ticks = False

    @property
    def is_ready(self) -> bool:
        return bool(self.workers)

    @property
    def is_idle(self) -> bool:
        return not self._admitted

    def add(self, worker: WorkerHandle) -> None:
        """Takes a worker that has finished init()."""
        self.workers.append(worker)
        self.pump()

    def submit(self, request: Request) -> None:
        if not self.workers and not self.expects_worker:
            self._contract.refuse(request, 503, NOT_READY, RETRY_AFTER)
            return
        if self._admitted >= self._admission_limit:
            self._contract.refuse(request, 429, FULL, RETRY_AFTER)
            return
        self._admitted += 1
        self._last_id = request.id = self._last_id % 0xFFFF_FFFF + 1
        if self._settings.request_timeout_ms:
            request.deadline = request.arrived + self._settings.request_timeout_ms / 1000
        if self._queue or not self._hand_out(request):
            self._queue.append(request)
        if not self._ticks:
            self._ticks = True
            self._loop.call_later(TICK_SECONDS, self._tick)

    def abandon(self, request: Request) -> None:
        """The client is gone: a waiting request is forgotten, a stream is ended, run() goes on."""
        if request.is_answered or not request.id:
            return
        request.is_answered = True
        if request in self._queue:
            self._queue.remove(request)
            self._settled(request)
            return
        worker = self._holder(request)
        if worker is not None and request.is_streaming:
            worker.end_stream(request)

    def pause_stream(self, request: Request) -> None:
        worker = self._holder(request)
        if worker is not None:
            worker.pause()

    def resume_stream(self, request: Request) -> None:
        worker = self._holder(request)
        if worker is not None:
            worker.resume()

    def answered(
        self,
        worker: WorkerHandle,
        request: Request,
        status: int,
        flags: int,
        headers: bytes,
        body: bytes,
        took_ms: float,
    ) -> None:
        self._settled(request)
        # The worker's next work first: it is what everyone waits for.
        if self._queue:
            self.pump()
        elif not worker.in_hand and len(self.workers) > 1:
            self._relieve(worker)
        if not request.is_answered:
            self._contract.answer(request, status, flags, headers, body, took_ms)

    def stream_begins(
        self, request: Request, status: int, flags: int, headers: bytes, took_ms: float
    ) -> None:
        if not request.is_answered:
            self._contract.begin_stream(request, status, flags | OWN_HEADERS, headers, took_ms)

    def stream_goes_on(self, worker: WorkerHandle, request: Request, part: bytes) -> None:
        if request.is_answered:
            worker.end_stream(request)
        else:
            self._contract.continue_stream(request, part)

    def stream_ends(self, worker: WorkerHandle, request: Request, *, broken: bool) -> None:
        worker.resume()
        self._settled(request)
        self.pump()
        if request.is_answered:
            return
        if broken:
            self._contract.break_stream(request)
        else:
            self._contract.end_stream(request)

    def lost(self, worker: WorkerHandle) -> None:
        """The worker ended: what it had begun is answered 502, what it had not waits on."""
        if worker in self.workers:
            self.workers.remove(worker)
        self._take_back(worker)
        for request in list(worker.in_hand.values()):
            self._settled(request)
            if request.is_answered:
                continue
            if request.is_streaming:
                self._contract.break_stream(request)
            else:
                self._contract.refuse(request, 502, LOST)
        worker.in_hand.clear()
        self.pump()

    def give_up_waiting(self) -> None:
        """No worker will come soon: nobody should wait for one."""
        self.expects_worker = False
        while self._queue and not self.workers:
            self._drop(self._queue.popleft(), 503, NOT_READY)

    def pump(self) -> None:
        """Hands out what waits, as far as the workers' hands reach."""
        while self._queue and self._hand_out(self._queue[0]):
            self._queue.popleft()

    def _hand_out(self, request: Request) -> bool:
        chosen: WorkerHandle | None = None
        busy = 0
        for worker in self.workers:
            held = len(worker.in_hand)
            if held:
                busy += 1
                if held < worker.depth and (chosen is None or held < len(chosen.in_hand)):
                    chosen = worker
            elif chosen is None or chosen.in_hand:
                chosen = worker
        if chosen is None or (busy >= self._running_limit and not chosen.in_hand):
            return False
        now = monotonic()
        request.limit_ms = self._settings.scoring_timeout_ms
        if request.deadline:
            left_ms = max(1, int((request.deadline - now) * 1000))
            request.limit_ms = min(left_ms, request.limit_ms)
        return chosen.send(request, now, self._contract.wants_headers)

    def _holder(self, request: Request) -> WorkerHandle | None:
        for worker in self.workers:
            if request.id in worker.in_hand:
                return worker
        return None

    def _settled(self, request: Request) -> None:
        self._admitted -= 1
        request.release()

    def _drop(self, request: Request, status: int, message: str) -> None:
        self._settled(request)
        extra = RETRY_AFTER if status in (429, 503) else b""
        self._contract.refuse(request, status, message, extra)

    def _relieve(self, idle: WorkerHandle) -> None:
        """An idle worker takes over what a busy one has not begun: one call's worth at most."""
        other = max(self.workers, key=lambda worker: len(worker.in_hand))
        held = len(other.in_hand)
        if held > 1:
            self._queue.extend(self._still_wanted(other.take_back(min(held // 2, idle.max_batch))))
            self.pump()

    def _take_back(self, worker: WorkerHandle) -> None:
        self._queue.extendleft(reversed(self._still_wanted(worker.take_back())))

    def _still_wanted(self, requests: list[Request]) -> list[Request]:
        """Without those that were answered in the meantime, or whose client has gone."""
        wanted = []
        for request in requests:
            if request.is_answered:
                self._settled(request)
            else:
                wanted.append(request)
        return wanted

    def _tick(self) -> None:
        now = monotonic()
        for worker in list(self.workers):
            self._check(worker, now)
        self._expire(now)
        if self._admitted:
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._ticks = False

    def _check(self, worker: WorkerHandle, now: float) -> None:
        if not worker.in_hand:
            return
        busy_seconds = now - worker.busy_since
        if len(worker.in_hand) > 1 and busy_seconds > TAKE_BACK_AFTER_SECONDS:
            worker.notice_slow(busy_seconds)
            self._take_back(worker)
            if not worker.in_hand:
                # It was between two requests, kept from the processor: it gets its next one again.
                self.pump()
                return
        silence_seconds = self._settings.worker_timeout_seconds or float("inf")
        held = list(worker.in_hand.values())
        # Those of a batch differ by what they had waited; the last alarm is the one that counts.
        alarm_seconds = max(one.limit_ms for one in held) / 1000 + KILL_AFTER_ALARM_SECONDS
        is_streaming = any(one.is_streaming for one in held)
        if busy_seconds > silence_seconds or (busy_seconds > alarm_seconds and not is_streaming):
            worker.kill(signal.SIGKILL)
        for request in held:
            if request.deadline and now >= request.deadline and not request.is_streaming:
                self._answer_late(request)

    def _answer_late(self, request: Request) -> None:
        # The worker keeps it in hand until the alarm or the kill ends run().
        if not request.is_answered:
            self._contract.refuse_late(request)

    def _expire(self, now: float) -> None:
        wait_ms = self._settings.max_queue_wait_ms
        while self._queue:
            oldest = self._queue[0]
            if oldest.deadline and now >= oldest.deadline:
                self._queue.popleft()
                self._settled(oldest)
                self._contract.refuse_late(oldest)
            elif wait_ms and now - oldest.arrived > wait_ms / 1000:
                self._queue.popleft()
                self._drop(oldest, 429, WAITED.format(wait_ms))
            else:
                break
