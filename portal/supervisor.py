"""`portico up`: starts everything in order, keeps it running, stops it so that no scoring request is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from deployments.engines import runtime_sentence
from portal import preflight, prepared, programs
from portal.certificates import authority_path
from portal.embedded import Postgres, Redis
from portal.faults import StartFault
from portal.gateway import GatewayKeeper
from portal.processes import Keeper, Program, end_leftovers
from portal.signals import Signals

DATA_SERVER_SECONDS = 300
"""PostgreSQL may have much to recover after a crash."""
PREPARE_SECONDS = 600
READY_SECONDS = 120
HOPELESS_DEATHS = 4
LOOK_SECONDS = 0.25
ROTATE_EVERY_SECONDS = 30


class Stopping(Exception):
    """The operator wants it to end while it still starts."""


class Supervisor:
    """One installation, from lock to last stop. All children are started by the main thread."""

    def __init__(self, *, show: Callable[[str], None] = print) -> None:
        self.show = show
        self.signals = Signals()
        self.phase = "starting"
        self.generation = 0
        self.restart_problem = ""
        self.hurry = False
        self.restart_asked = False
        self.keepers: dict[str, Keeper] = {}
        self.gateway: GatewayKeeper | None = None
        self.postgres = Postgres(settings.PORTICO_HOME, settings.RUN_DIR / "pg")
        self.redis = Redis(settings.PORTICO_HOME, settings.RUN_DIR / "redis.sock")
        self.listening: socket.socket | None = None
        self._written = ""
        self._next_rotation = 0.0

    def run(self) -> int:
        """The exit code: 0 after a clean stop. Raises `StartFault` when it cannot start."""
        preflight.make_folders()
        with preflight.only_one():
            started = False
            try:
                self._start()
                started = True
                self._stay()
            except Stopping:
                started = True
            finally:
                self._stop(everything=started)
        return 0

    # Starting -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        end_leftovers(read_state().get("programs", {}))
        self.gateway = GatewayKeeper(self.event)
        preflight.check(gateway_pid=self.gateway.envoy.pid())
        link, _, note = self._start_data().partition("\n")
        self._keep(programs.watch()).want()
        self.gateway.want()
        self._wait(self._is_serving, READY_SECONDS, "Portico does not answer")
        # Loading at the same time, they would take the processor from what everybody waits for.
        for program in (programs.worker(), programs.beat()):
            self._keep(program).want()
        self.phase = "ready"
        self._write_state()
        self.show(ready_text(link, note))

    def _start_data(self) -> str:
        """Data servers, then the database's contents; `web` loads meanwhile. Gives what `prepare` says."""
        prepared.forget()
        preparing = self._begin_to_prepare("--sign-in-link")
        try:
            self.listening = programs.listen(settings.WEB_SOCKET)
            self._keep(programs.web(self.listening)).want()
            self._start_data_servers()
        except BaseException:
            preparing.kill()
            preparing.communicate()
            raise
        return self._prepare(preparing)

    def _start_data_servers(self) -> None:
        embedded: list[tuple[Keeper, Callable[[Path], str]]] = []
        if settings.EMBEDDED_POSTGRES:
            embedded.append((self._keep(self.postgres.prepare()), self.postgres.why_not))
        if settings.EMBEDDED_REDIS:
            embedded.append((self._keep(self.redis.prepare()), self.redis.why_not))
        for keeper, _ in embedded:
            keeper.try_once()
        for keeper, why_not in embedded:
            self._await_first_start(keeper)
            if not keeper.is_ready:
                raise StartFault(why_not(keeper.log))
            keeper.want()
        if settings.EMBEDDED_POSTGRES:
            self.postgres.create_database()
        preflight.check_data_servers()

    def _await_first_start(self, keeper: Keeper) -> None:
        self._wait(
            lambda: keeper.is_ready or not keeper.is_running,
            DATA_SERVER_SECONDS,
            f"{keeper.program.name} does not answer",
        )

    def _begin_to_prepare(self, *options: str) -> subprocess.Popen[str]:
        """Load what migrates the database, in a process of its own; it begins when a line is written to it."""
        with (settings.LOG_DIR / "prepare.log").open("w") as said:
            return subprocess.Popen(
                programs.prepare_command(*options),
                cwd=settings.BASE_DIR,
                env={**os.environ, **programs.python_environment()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )

    def _prepare(self, child: subprocess.Popen[str]) -> str:
        """Have it migrate and do all that the database needs; gives what it says."""
        assert child.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write("begin\n")
                child.stdin.flush()
            self._wait(lambda: child.poll() is not None, PREPARE_SECONDS, "Migrations hang")
        finally:
            if child.poll() is None:
                child.kill()
            answer, _ = child.communicate()
        if child.returncode != 0:
            log = settings.LOG_DIR / "prepare.log"
            lines = log.read_text().strip().splitlines() or ["it said nothing"]
            raise StartFault(f"{lines[-1]} (The whole story is in {log}.)")
        return answer.strip()

    def _keep(self, program: Program) -> Keeper:
        keeper = Keeper(program, settings.LOG_DIR, self.event)
        self.keepers[program.name] = keeper
        return keeper

    def _is_serving(self) -> bool:
        for keeper in self.keepers.values():
            if keeper.deaths >= HOPELESS_DEATHS:
                raise StartFault(
                    f"{keeper.program.name} does not start: {keeper.last_words() or 'it said nothing'} "
                    f"(Its log is {keeper.log}.)"
                )
        assert self.gateway is not None
        problem = self.gateway.problem()
        if problem:
            raise StartFault(f"The gateway cannot listen: {problem}")
        return programs.answers(settings.PORTICO_PORT)

    # Running ------------------------------------------------------------------------------------------

    def _stay(self) -> None:
        with contextlib.suppress(Stopping):
            while True:
                self._look()
                if self.restart_asked:
                    self.restart_asked = False
                    self._restart()

    def _look(self, seconds: float = LOOK_SECONDS) -> None:
        """One turn of the loop: hear signals, revive what died. Raises `Stopping`."""
        for number in self.signals.wait(seconds):
            if number in (signal.SIGINT, signal.SIGTERM):
                if self.phase == "stopping":
                    self.hurry = True
                else:
                    raise Stopping
            if number == signal.SIGHUP:
                self.restart_asked = True
        for keeper in self.keepers.values():
            keeper.tick()
        if self.gateway is not None:
            self.gateway.tick()
        self._write_state()
        if time.monotonic() > self._next_rotation:
            self._next_rotation = time.monotonic() + ROTATE_EVERY_SECONDS
            for keeper in self.keepers.values():
                keeper.rotate_log()

    def _wait(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        """Keep looking until the condition holds. Raises `Stopping`, or `StartFault` when it takes too long."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise StartFault(
                    f"{complaint} after {seconds:.0f} seconds. Look into {settings.LOG_DIR}, "
                    f"or run 'portico doctor'."
                )
            self._look(0.05)

    def _restart(self) -> None:
        """Replace the control plane by the code that is installed now; scoring goes on meanwhile."""
        assert self.listening is not None and self.gateway is not None
        self.event("The control plane is replaced.")
        self.restart_problem = ""
        try:
            self._prepare(self._begin_to_prepare())
            # One after the other: callers of `web` must not wait for the worker to finish its tasks.
            for program in programs.control_plane(self.listening):
                self._end([self.keepers[program.name]])
                self._keep(program).want()
            self.gateway.want()
            self._wait(self._is_serving, READY_SECONDS, "Portico does not answer")
            self.event("The control plane is replaced and answers.")
        except StartFault as fault:
            self.restart_problem = str(fault)
            self.event(f"The restart failed: {fault}")
        self.generation += 1

    # Stopping -----------------------------------------------------------------------------------------

    def _stop(self, *, everything: bool) -> None:
        """Stop in the order that loses nothing; after a failed start, what ran before it goes on."""
        was_ready = self.phase == "ready"
        self.phase = "stopping"
        if was_ready:
            self.event("Stopping. A second Ctrl-C hastens it.")
        self._end_named("worker", "beat")
        gateway = self.gateway
        if gateway is not None and (everything or not gateway.was_adopted):
            gateway.begin_stop()
            self._linger(lambda: gateway.is_stopped, None)
            gateway.kill()
            if everything or "worker" in self.keepers:
                self._stop_instances()
        self._end_named("web", "watch")
        if self.listening is not None:
            self.listening.close()
            settings.WEB_SOCKET.unlink(missing_ok=True)
        self._end_named("redis")
        self._end_named("postgres")
        state_path().unlink(missing_ok=True)
        if was_ready:
            self.event("Stopped.")

    def _stop_instances(self) -> None:
        with (settings.LOG_DIR / "prepare.log").open("a") as said:
            child = subprocess.Popen(
                programs.stop_instances_command(),
                cwd=settings.BASE_DIR,
                env={**os.environ, **programs.python_environment()},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            self._linger(lambda: child.poll() is not None, 60)
            if child.poll() is None:
                child.kill()
            if child.wait() != 0:
                self.event(f"Some instances may still run; {said.name} says why.")

    def _end_named(self, *names: str) -> None:
        self._end([self.keepers[name] for name in names if name in self.keepers])

    def _end(self, keepers: Iterable[Keeper]) -> None:
        """Ask all at once, wait as long as the slowest may take, kill what is left."""
        ending = list(keepers)
        for keeper in ending:
            keeper.ask_to_stop()
        seconds = max((keeper.program.stop_seconds for keeper in ending), default=0)
        self._linger(lambda: not any(keeper.is_running for keeper in ending), seconds)
        for keeper in ending:
            keeper.kill()

    def _linger(self, condition: Callable[[], bool], seconds: float | None) -> None:
        """Wait for an end, at most so long, and hardly at all once the operator hurries."""
        until = time.monotonic() + seconds if seconds is not None else float("inf")
        while not condition() and time.monotonic() < until:
            self._look(0.05)
            if self.hurry:
                until = min(until, time.monotonic() + 1)

    # Telling ------------------------------------------------------------------------------------------

    def event(self, text: str) -> None:
        self.show(f"{time.strftime('%H:%M:%S')} {text}")

    def _write_state(self) -> None:
        """For `portico restart` and `portico doctor`, and for the supervisor that comes after a crash."""
        found = {
            name: {
                "pid": keeper.run.identity.pid,
                "started_at": keeper.run.identity.started_at,
                "restarts": keeper.restarts,
                "stop_signal": int(keeper.program.stop_signal),
                "stop_seconds": keeper.program.stop_seconds,
            }
            for name, keeper in self.keepers.items()
            if keeper.run is not None
        }
        state: dict[str, Any] = {
            "pid": os.getpid(),
            "phase": self.phase,
            "generation": self.generation,
            "restart_problem": self.restart_problem,
            "programs": found,
        }
        text = json.dumps(state, indent=1)
        if text != self._written:
            # A full disk must not end what runs; the next turn tries again.
            with contextlib.suppress(OSError):
                draft = state_path().with_suffix(".new")
                draft.write_text(text)
                draft.replace(state_path())
                self._written = text


def ready_text(link: str, note: str = "") -> str:
    """What the operator sees once the portal answers; `note` says what does not yet."""
    host = settings.PORTICO_HOST
    rows = [
        ("Studio", f"http://localhost:{settings.PORTICO_PORT}"),
        ("", f"https://{host}:{settings.PORTICO_TLS_PORT}"),
        ("Scoring", f"https://{host}:{settings.PORTICO_GATEWAY_PORT}/<endpoint>/score"),
        ("", f"http://localhost:{settings.PORTICO_GATEWAY_HTTP_PORT}/<endpoint>/score"),
        ("Models", runtime_sentence()),
        ("CA", str(authority_path(settings.CERTIFICATES_DIR))),
        ("Logs", str(settings.LOG_DIR)),
        ("Sign in", f"{link}   (once)"),
    ]
    lines = [f"  {name:<9}{value}" for name, value in rows]
    notes = [note, ""] if note else []
    return "\n".join(
        [
            "",
            f"Portico {settings.VERSION} is ready.",
            "",
            *lines,
            "",
            *notes,
            "Ctrl-C stops it.",
            "",
        ]
    )


def state_path() -> Path:
    return Path(settings.RUN_DIR) / "up.json"


def read_state() -> dict[str, Any]:
    """What the running supervisor (or the last one, if it was killed) last wrote; empty when there is none."""
    try:
        state: dict[str, Any] = json.loads(state_path().read_text())
    except (OSError, ValueError):
        return {}
    return state
