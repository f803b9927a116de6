"""Our inference server against the genuine one: same model, same load, turn and turn about.

    python benchmarks/inference_server.py [--rounds 3] [--seconds 2] [--connections 32] [--all] [--memory]

Builds a throw-away environment with `azureml-inference-server-http`, scikit-learn and numpy (uv
must be on the PATH), deploys a model on both servers, and prints requests a second, latencies,
memory and ratios. Ratios are taken within a round: the machine's other work moves absolute figures.
`--memory` measures something else instead: four workers with a model of 500 MB, each with its own
and forked from one that has loaded it.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

REPOSITORY = Path(__file__).resolve().parents[1]
UV = (sys.executable, "-m", "uv")
PACKAGES = ("azureml-inference-server-http", "scikit-learn", "numpy", "joblib")
SCRIPTS = {
    "ridge": """
import json
import numpy as np
from sklearn.linear_model import Ridge

def init():
    global model
    random = np.random.default_rng(0)
    model = Ridge().fit(random.normal(size=(500, 10)), random.normal(size=500))

def run(data):
    return model.predict(np.array(json.loads(data)["data"])).tolist()
""",
    "batched": """
import json
import numpy as np
from sklearn.linear_model import Ridge

def init():
    global model
    random = np.random.default_rng(0)
    model = Ridge().fit(random.normal(size=(500, 10)), random.normal(size=500))

def run(data):
    return model.predict(np.array(json.loads(data)["data"])).tolist()

def run_batch(inputs):
    tables = [json.loads(one)["data"] for one in inputs]
    scores = iter(model.predict(np.array([row for table in tables for row in table])).tolist())
    return [[next(scores) for row in table] for table in tables]
""",
    "large": """
import json
import numpy as np

def init():
    global model
    model = np.random.default_rng(0).normal(size=500 * 2**20 // 8)

def run(data):
    return float(model[: len(data)].sum())
""",
    "echo": """
def init():
    pass

def run(data):
    return data
""",
}
BODY = json.dumps({"data": [[0.1 * number for number in range(10)]]}).encode()
FIXED_RATE = 100


@dataclass(frozen=True)
class Candidate:
    name: str
    script: str
    command: tuple[str, ...]
    keeps_connections: bool
    workers: int = 1
    preload: bool = False

    @property
    def model(self) -> str:
        """What must be equal for a comparison."""
        script = "ridge" if self.script == "batched" else self.script
        return script if self.workers == 1 else f"{script}, {self.workers} workers"


@dataclass(frozen=True)
class Figures:
    """What one round of one candidate gave; times in milliseconds."""

    requests_per_second: float
    p50: float
    p99: float
    calm_p50: float
    calm_p99: float
    memory_mb: float
    failures: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--all", action="store_true", help="echo and two workers too")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--memory", action="store_true", help="preloading, instead of speed")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.load:
        uvloop.run(offer(json.loads(chosen.load)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        python = build_environment(root)
        if chosen.memory:
            compare_memory(root, python)
        else:
            compare(root, python, chosen)


def compare(root: Path, python: Path, chosen: argparse.Namespace) -> None:
    own = (sys.executable, "-m", "inference_server", "--python", str(python))
    genuine = (str(python.with_name("azmlinfsrv")),)
    candidates = [
        Candidate("genuine, ridge", "ridge", genuine, False),
        Candidate("own, ridge", "ridge", own, True),
        Candidate("own, ridge, depth 1", "ridge", (*own, "--depth", "1"), True),
        Candidate("own, ridge, depth 2", "ridge", (*own, "--depth", "2"), True),
        Candidate("own, ridge, micro-batches", "batched", own, True),
    ]
    more = [
        Candidate("genuine, echo", "echo", genuine, False),
        Candidate("own, echo", "echo", own, True),
        Candidate("own, echo, depth 1", "echo", (*own, "--depth", "1"), True),
        Candidate("own, echo, depth 2", "echo", (*own, "--depth", "2"), True),
        Candidate("genuine, ridge, 2 workers", "ridge", genuine, False, 2),
        Candidate("own, ridge, 2 workers", "ridge", own, True, 2),
        Candidate("own, batches, 2 workers", "batched", own, True, 2),
    ]
    if chosen.all:
        candidates += more
    found: dict[str, list[Figures]] = {candidate.name: [] for candidate in candidates}
    for _ in range(chosen.rounds):
        for candidate in candidates:
            found[candidate.name].append(measure(root, candidate, chosen))
    report(candidates, found)


def compare_memory(root: Path, python: Path) -> None:
    own = (sys.executable, "-m", "inference_server", "--python", str(python))
    genuine = (str(python.with_name("azmlinfsrv")),)
    print("Four workers, a numpy model of 500 MB, after 200 calls")
    print(f"{'':28}{'PSS MB':>8}{'x model':>9}{'first answer s':>16}")
    for name, command, preload in (
        ("genuine", genuine, False),
        ("genuine, preload", genuine, True),
        ("own", own, False),
        ("own, preload", own, True),
    ):
        candidate = Candidate(name, "large", command, command is own, 4, preload)
        began = time.perf_counter()
        with running(root, candidate) as (port, pid):
            took = time.perf_counter() - began
            offer_load(candidate, port, 8, 1.0, 200)
            # Those that load a model each are not all ready with the first answer.
            found = memory_mb(pid)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(2)
                before, found = found, memory_mb(pid)
                if abs(found - before) < 5:
                    break
        print(f"{name:28}{found:8.0f}{found / 500:9.2f}{took:16.1f}", flush=True)


def report(candidates: list[Candidate], found: dict[str, list[Figures]]) -> None:
    memory = psutil.virtual_memory().total / 2**30
    print(f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Python {platform.python_version()}")
    print(f"load average {os.getloadavg()[0]:.1f} at the end")
    for script in ("ridge", "batched"):
        named = "micro-batches" if script == "batched" else "depth 2"
        ratios = [
            one.requests_per_second / other.requests_per_second
            for one, other in zip(
                found[f"own, ridge, {named}"], found["own, ridge, depth 1"], strict=True
            )
        ]
        print(f"{named} x own depth 1: {statistics.median(ratios):.1f}", end="; ")
    print("\n")
    print(
        f"{'':28}{'req/s':>8}{'x genuine':>20}{'p50 ms':>8}{'p99 ms':>8}"
        f"{f'p50 at {FIXED_RATE}/s':>14}{'p99':>7}{'PSS MB':>8}{'failed':>8}"
    )
    for candidate in candidates:
        rounds = found[candidate.name]
        base = found[f"genuine, {candidate.model}"]
        ratios = [
            one.requests_per_second / other.requests_per_second
            for one, other in zip(rounds, base, strict=True)
        ]
        ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        print(
            f"{candidate.name:28}{middle(rounds, 'requests_per_second'):8.0f}{ratio:>20}"
            f"{middle(rounds, 'p50'):8.1f}{middle(rounds, 'p99'):8.1f}"
            f"{middle(rounds, 'calm_p50'):14.1f}{middle(rounds, 'calm_p99'):7.1f}"
            f"{middle(rounds, 'memory_mb'):8.0f}{sum(one.failures for one in rounds):8}"
        )


def middle(rounds: list[Figures], name: str) -> float:
    return statistics.median(float(getattr(one, name)) for one in rounds)


def build_environment(root: Path) -> Path:
    """A Python with the genuine server and what the model needs."""
    subprocess.run([*UV, "venv", "-q", "--python", sys.executable, root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    subprocess.run([*UV, "pip", "install", "-q", "--python", python, *PACKAGES], check=True)
    for name, text in SCRIPTS.items():
        (root / name).mkdir()
        (root / name / "score.py").write_text(text)
    # The first import writes bytecode; no server should pay for it.
    subprocess.run([python, "-c", "import sklearn.linear_model, flask"], check=True)
    return python


def measure(root: Path, candidate: Candidate, chosen: argparse.Namespace) -> Figures:
    with running(root, candidate) as (port, pid):
        offer_load(candidate, port, chosen.connections, 0.5, 0)
        calm = offer_load(candidate, port, 4, chosen.seconds / 2, FIXED_RATE)
        full = offer_load(candidate, port, chosen.connections, chosen.seconds, 0)
        return Figures(
            full["requests_per_second"],
            full["p50"],
            full["p99"],
            calm["p50"],
            calm["p99"],
            memory_mb(pid),
            int(full["failures"] + calm["failures"]),
        )


@contextmanager
def running(root: Path, candidate: Candidate) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [
        *candidate.command,
        *("--entry_script", "score.py", "--port", str(port)),
        *("--worker_count", str(candidate.workers)),
    ]
    # As the portal runs it: the gateway logs each request, the server does not do so again.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PORTICO_LOG_REQUESTS": "false"}
    environment["WORKER_PRELOAD"] = str(candidate.preload).lower()
    with open(root / "server.log", "ab") as log:
        process = subprocess.Popen(
            command, cwd=root / candidate.script, env=environment, stdout=log, stderr=log
        )
    try:
        wait_until_healthy(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_until_healthy(port: int) -> None:
    for _ in range(3_000):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                if b" 200 " in connection.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.01)
    raise SystemExit("a server did not start")


def offer_load(
    candidate: Candidate, port: int, connections: int, seconds: float, rate: int
) -> dict[str, float]:
    """Offers the load to a candidate."""
    plan = {
        "port": port,
        "connections": connections,
        "seconds": seconds,
        "rate": rate,
        "keeps": candidate.keeps_connections,
    }
    return run_load(plan)


def run_load(plan: dict[str, Any]) -> dict[str, float]:
    """Runs the load generator in a process of its own; `path` and `headers` may differ from the usual."""
    done = subprocess.run(
        [sys.executable, __file__, "--load", json.dumps(plan)], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory_mb(pid: int) -> float:
    parent = psutil.Process(pid)
    return (
        sum(
            process.memory_full_info().pss
            for process in (parent, *parent.children(recursive=True))
        )
        / 2**20
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Caller(asyncio.Protocol):
    """One connection that always has one request under way; a new connection if the old one closes."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.buffer = b""
        self.began = 0.0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.send()

    def send(self) -> None:
        assert self.transport is not None
        self.buffer = b""
        self.began = time.perf_counter()
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.buffer = data if not self.buffer else self.buffer + data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.lower().find(b"content-length: ") + 16
        length = int(head[place:].partition(b"\r")[0])
        if len(body) < length:
            return
        self.load.done(time.perf_counter() - self.began, head.startswith(b"HTTP/1.1 200"))
        if self.load.keeps:
            self.load.next(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.load.keeps:
            self.load.reconnect()


class Load:
    """As many requests as the connections carry, or `rate` a second."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.port = int(plan["port"])
        self.keeps = bool(plan["keeps"])
        self.pause = plan["connections"] / plan["rate"] if plan["rate"] else 0.0
        self.times: list[float] = []
        self.failures = 0
        self.is_over = False
        self.tasks: set[asyncio.Task[object]] = set()
        self.request = (
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"%bContent-Length: %d\r\n\r\n%b"
            % (
                plan.get("path", "/score").encode(),
                plan.get("headers", "").encode(),
                len(BODY),
                BODY,
            )
        )

    def done(self, seconds: float, is_success: bool) -> None:
        if self.is_over:
            return
        self.times.append(seconds)
        self.failures += not is_success

    def next(self, caller: Caller) -> None:
        if self.is_over:
            return
        if self.pause:
            self.loop.call_later(self.pause, caller.send)
        else:
            caller.send()

    def reconnect(self) -> None:
        if not self.is_over:
            self.loop.call_later(self.pause, self.connect)

    def connect(self) -> None:
        task = self.loop.create_task(self.open())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def open(self) -> None:
        began = time.perf_counter()
        try:
            _, caller = await self.loop.create_connection(
                lambda: Caller(self), "127.0.0.1", self.port
            )
        except OSError:
            self.failures += 1
            self.reconnect()
        else:
            # A new connection is part of what the caller waits for.
            caller.began = began


async def offer(plan: dict[str, Any]) -> None:
    load = Load(plan)
    for number in range(int(plan["connections"])):
        load.loop.call_later(load.pause * number / plan["connections"], load.connect)
    began = time.perf_counter()
    await asyncio.sleep(plan["seconds"])
    load.is_over = True
    took = time.perf_counter() - began
    cuts = statistics.quantiles(load.times, n=100)
    found = {
        "requests_per_second": len(load.times) / took,
        "p50": cuts[49] * 1000,
        "p99": cuts[98] * 1000,
        "failures": load.failures,
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
