"""Scoring through a container against the same server as a process, and fifty instances that leave nothing behind.

    python -m benchmarks.containers [--seconds 6] [--instances 50] [--image debian:12-python]

Both servers run at once in one machine's noise and are measured in turns; what counts is the ratio (bar: 0.9). Needs
a Docker engine with an image that has /usr/bin/python3.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployments.runtimes import InstanceSpec, Phase, Runtime
from deployments.runtimes.docker import bundle
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.runtime import DockerRuntime
from deployments.runtimes.process import ProcessRuntime
from deployments.runtimes.server_bundle import lay_out, prepare_server

SCRIPT = """
import json

def init():
    pass

def run(data):
    return {"sum": sum(json.loads(data)["data"])}
"""
BODY = b'{"data": [1, 2, 3, 4]}'
CLIENTS = 4
ROUNDS = 7
TURNS = 8
BAR = 0.9
PATIENCE_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=14.0, help="of load for each side")
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--image", default="debian:12-python")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="portico-bench-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        house = containers(folder)
        ratio = compare(folder, house, options.image, options.seconds)
        left = come_and_go(folder, house, options.image, options.instances)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if ratio >= BAR and not left else 1


def containers(folder: Path) -> DockerRuntime:
    server = bundle.lay_out(folder / "container-server", lay_out(folder / "server"))
    return DockerRuntime(folder / "containers", "bench", server, [EngineAddress("docker")])


def spec_of(
    house: DockerRuntime | ProcessRuntime, folder: Path, name: str, **more: object
) -> InstanceSpec:
    code = folder / "code"
    if not code.exists():
        code.mkdir()
        (code / "score.py").write_text(SCRIPT)
        house.grant(code, 1)
    given: dict[str, object] = {
        "owner": 1,
        "code_dir": code,
        "scoring_script": "score.py",
        "model_dir": None,
        "python": Path("/usr/bin/python3"),
        "memory_bytes": 256 * 1024**2,
        "cpu_cores": 2.0,
    }
    return InstanceSpec(name=name, **(given | more))  # type: ignore[arg-type]


def compare(folder: Path, house: DockerRuntime, image: str, seconds: float) -> float:
    """The median of how many requests the container answers for each one of the process."""
    server_dir, server_python = prepare_server(folder)
    process = ProcessRuntime(
        folder / "instances", folder / "run", "bench", server_dir, server_python
    )
    one = spec_of(house, folder, "bench.container.1.1.0", image=image)
    other = spec_of(process, folder, "bench.process.1.1.0")
    try:
        here, there = ready(house, one), ready(process, other)
        totals = []
        for number in range(ROUNDS):
            # In short turns, so that both have the same share of whatever else runs here.
            as_container = as_process = 0.0
            for _ in range(TURNS):
                as_container += rate(here, seconds / ROUNDS / TURNS) / TURNS
                as_process += rate(there, seconds / ROUNDS / TURNS) / TURNS
            totals.append((as_container, as_process))
            print(
                f"round {number + 1}: container {as_container:7.0f}/s   process {as_process:7.0f}/s   "
                f"ratio {as_container / as_process:.2f}"
            )
    finally:
        house.remove(one.name)
        process.remove(other.name)
    ratio = statistics.median(container / process for container, process in totals)
    print(f"container / process: {ratio:.2f} (bar {BAR})")
    return ratio


def ready(house: Runtime, spec: InstanceSpec) -> str:
    """Start it; its address once it answers."""
    house.ensure(spec)
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        status = house.inspect(spec.name)
        if status.phase == Phase.HEALTHY:
            return status.address
        if status.phase == Phase.EXITED:
            raise SystemExit(f"{spec.name} ended: {status.reason}")
        time.sleep(0.02)
    raise SystemExit(f"{spec.name} did not become ready within {PATIENCE_SECONDS} s")


def rate(address: str, seconds: float) -> float:
    """Requests answered in a second by as many connections as there are clients."""
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(CLIENTS) as pool:
        counts = list(pool.map(lambda _: ask_until(address, until), range(CLIENTS)))
    return sum(counts) / seconds


def ask_until(address: str, until: float) -> int:
    connection = http.client.HTTPConnection("instance")
    if address.startswith("unix:"):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        connection.sock = socket.create_connection((host, int(port)))
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = 0
    while time.monotonic() < until:
        connection.request("POST", "/score", BODY, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise SystemExit(f"status {reply.status}: {reply.read()!r}")
        reply.read()
        count += 1
    connection.close()
    return count


def come_and_go(folder: Path, house: DockerRuntime, image: str, count: int) -> list[str]:
    """Start and remove so many in ten deployments; what is left afterwards that was not there before."""
    before = everything()
    specs = [
        spec_of(house, folder, f"bench.blue.{n % 10}.1.{n}", image=image, owner=1, cpu_cores=0.5)
        for n in range(count)
    ]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(house.ensure, specs))
    ensured = time.monotonic() - began
    for spec in specs:
        ready(house, spec)
    answered = time.monotonic() - began
    samples = time.monotonic()
    for spec in specs:
        house.usage(spec.name)
    sampled = time.monotonic() - samples
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda spec: house.remove(spec.name), specs))
    removed = time.monotonic() - began
    left = sorted(everything() - before)
    print(
        f"{count} instances: ensured in {ensured:.1f} s, all answer after {answered:.1f} s, usage of all in "
        f"{sampled:.2f} s, removed in {removed:.1f} s"
    )
    print(f"left behind: {', '.join(left) or 'nothing'}")
    return left


def everything() -> set[str]:
    """Containers, networks and volumes of the benchmark, and mounts of the engine."""
    found: set[str] = set()
    label = ["--filter", "label=portico.installation=bench"]
    for command in (
        ["ps", "-aq", *label],
        ["network", "ls", "-q", *label],
        ["volume", "ls", "-q", *label],
    ):
        listed = subprocess.run(["docker", *command], capture_output=True, text=True, check=True)
        found.update(f"{command[0]} {line}" for line in listed.stdout.split())
    mounts = Path("/proc/mounts").read_text().splitlines()
    found.update(line.split()[1] for line in mounts if "portico-bench" in line)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
