"""The whole path (gateway with key, split, limits and log, then our server) against the genuine server called directly.

    python -m benchmarks.whole_path [--rounds 3] [--seconds 3] [--connections 32]

Starts a portal of its own in a temporary home, deploys a ridge model there, and drives both in turn over plain http.
Ratios are taken within a round: the machine's other work moves absolute figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.inference_server import (
    FIXED_RATE,
    SCRIPTS,
    Candidate,
    build_environment,
    run_load,
    running,
)
from tests.house import House

DEPLOY = """
import io, time
from deployments.changes import create_deployment
from deployments.models import OnlineDeployment
from deployments.specs import DeploymentSpec
from endpoints.changes import EndpointSpec, create_endpoint
from endpoints.keys import keys_of
from endpoints.traffic import set_traffic
from workspaces import catalog, storage
from workspaces.models import Workspace
from workspaces.setup import administrator

by, workspace = administrator(), Workspace.objects.get()
code = catalog.register_anonymous_code(
    workspace, storage.put_tree([("score.py", io.BytesIO({script!r}.encode()))]), by=by
)
packages = catalog.register_anonymous_environment(workspace, by=by, requirements="scikit-learn\\nnumpy\\njoblib\\n")
endpoint = create_endpoint(workspace, EndpointSpec(name="ridge"), by=by)
for name in ("blue", "green"):
    spec = DeploymentSpec(
        name=name, code=code, scoring_script="score.py", environment=packages,
        instance_type="Standard_F2s_v2", max_concurrent_requests_per_instance=64,
    )
    create_deployment(endpoint, spec, by=by)
while OnlineDeployment.objects.exclude(state="Succeeded").exists():
    assert not OnlineDeployment.objects.filter(state="Failed").exists()
    time.sleep(0.2)
set_traffic(endpoint, {{"blue": 100}}, by=by)
print(keys_of(endpoint).primary)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=32)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, House() as house:
        python = build_environment(Path(folder))
        genuine = Candidate("genuine", "ridge", (str(python.with_name("azmlinfsrv")),), False)
        done = house.run("shell", "-c", DEPLOY.format(script=SCRIPTS["ridge"]))
        if done.returncode:
            raise SystemExit(done.stderr)
        key = done.stdout.strip().splitlines()[-1]
        whole = {
            "port": house.ports["PORTICO_GATEWAY_HTTP_PORT"],
            "path": "/ridge/score",
            "headers": f"Authorization: Bearer {key}\r\n",
            "keeps": True,
        }
        rounds = []
        for _ in range(chosen.rounds):
            with running(Path(folder), genuine) as (port, _pid):
                direct = drive({"port": port, "keeps": False}, chosen)
            rounds.append((direct, drive(whole, chosen)))
    report(rounds)


def drive(target: dict[str, Any], chosen: argparse.Namespace) -> dict[str, float]:
    run_load({**target, "connections": chosen.connections, "seconds": 0.5, "rate": 0})
    calm = run_load({**target, "connections": 4, "seconds": chosen.seconds, "rate": FIXED_RATE})
    full = run_load(
        {**target, "connections": chosen.connections, "seconds": chosen.seconds, "rate": 0}
    )
    return {
        "req/s": full["requests_per_second"],
        "p99 ms": full["p99"],
        f"p50 ms at {FIXED_RATE}/s": calm["p50"],
        "failed": full["failures"] + calm["failures"],
    }


def report(rounds: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    print(
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n"
    )
    print(f"{'':18}{'genuine direct':>16}{'whole path':>12}{'ratio (range)':>20}")
    for name in rounds[0][0]:
        direct, whole = ([pair[side][name] for pair in rounds] for side in (0, 1))
        ratios = [b / a for a, b in zip(direct, whole, strict=True) if a]
        ratio = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            if ratios
            else ""
        )
        print(
            f"{name:18}{statistics.median(direct):16.1f}{statistics.median(whole):12.1f}{ratio:>20}"
        )


if __name__ == "__main__":
    main()
