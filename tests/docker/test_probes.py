"""Probes of a custom container with routes, ports and a pace of its own, on a real engine."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import pytest
from asgiref.sync import async_to_sync, sync_to_async

from deployments import provisioning
from deployments.models import Instance, OnlineDeployment
from deployments.probing import Prober
from endpoints.models import Upstream
from tests.deployments.conftest import Factory, advance_once, make
from tests.docker.test_deployments import docker_runtime, environment, no_images_left
from workspaces import catalog, storage

__all__ = ["docker_runtime", "make", "no_images_left"]  # fixtures

pytestmark = [pytest.mark.django_db]

Result = TypeVar("Result")
SECONDS = 120
SLOW_SECONDS = 3
# Three doors: requests at 8501, liveness at 8502, readiness at 8503. A request breaks a probe, or mends it.
SERVER = """
import http.server, json, os, pathlib, threading, time
began, broken = time.monotonic(), set()
ROUTES = {(8502, "/alive"), (8503, "/ready")}

class Serve(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_slow = time.monotonic() - began < float(os.environ["SLOW_SECONDS"])
        is_known = (self.server.server_port, self.path) in ROUTES
        self.answer(404 if not is_known else 503 if is_slow or self.path in broken else 200)

    def do_POST(self):
        path = self.rfile.read(int(self.headers["Content-Length"])).decode()
        broken.symmetric_difference_update({path} if path else set())
        models = sorted(str(path) for path in pathlib.Path("/models").rglob("*.txt"))
        self.answer(200, {"path": self.path, "models": models, "told": os.environ["TOLD"]})

    def answer(self, status, body=None):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

for port in (8502, 8503):
    threading.Thread(target=http.server.ThreadingHTTPServer(("0.0.0.0", port), Serve).serve_forever).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 8501), Serve).serve_forever()
"""
ROUTES = {
    "scoring_route": {"path": "/predict", "port": 8501},
    "liveness_route": {"path": "/alive", "port": 8502},
    "readiness_route": {"path": "/ready", "port": 8503},
}
PROBE = {"initial_delay": 1, "period": 1, "timeout": 2, "failure_threshold": 2}


def probed(make: Factory, base_image: str) -> OnlineDeployment:
    """Two models in one folder, served by a container that is slow to start."""
    dockerfile = f"FROM {base_image}\nCOPY server.py /\nCMD python3 /server.py\n"
    context = tree({"Dockerfile": dockerfile, "server.py": SERVER})
    models = tree({"small/1/weights.txt": "1", "large/1/weights.txt": "2"})
    return make.deployment(
        code=None,
        scoring_script="",
        environment=environment(
            make,
            "probed",
            build_context_hash=context.content_hash,
            dockerfile_path="Dockerfile",
            inference_config=ROUTES,
        ),
        model=catalog.register_model(
            make.workspace, "both", models, leaf="both", is_folder=True, by=None, version="1"
        ),
        model_mount_path="/models",
        environment_variables={"TOLD": "it's told", "SLOW_SECONDS": str(SLOW_SECONDS)},
        liveness_probe=PROBE,
        readiness_probe=PROBE,
        # Without it, two failures of the others would end the start.
        startup_probe={**PROBE, "failure_threshold": 60},
    )


def tree(files: dict[str, str]) -> Any:
    return storage.put_tree((name, io.BytesIO(text.encode())) for name, text in files.items())


async def in_this_thread(action: Callable[[], Result]) -> Result:
    return await sync_to_async(action)()


def until(deployment: OnlineDeployment, condition: Callable[[Instance], bool]) -> Instance:
    """What watch, sweep and worker do until it holds; the instance then."""

    def look() -> bool:
        fresh = OnlineDeployment.objects.get(pk=deployment.pk)
        if fresh.state not in ("Succeeded", "Failed") or provisioning.sweep():
            advance_once(fresh)
        row = Instance.objects.filter(deployment=deployment).first()
        return row is not None and condition(row)

    async def watch() -> None:
        prober, end = Prober(), time.monotonic() + SECONDS
        while not await in_this_thread(look):
            assert time.monotonic() < end, await in_this_thread(
                lambda: list(Instance.objects.values("state", "reason", "probes"))
            )
            await prober.step(in_this_thread)
            await asyncio.sleep(0.1)
        await prober.close()

    async_to_sync(watch)()
    return Instance.objects.get(deployment=deployment)


def toggle(address: str, route: str) -> Any:
    """Break the probe at this route, or mend it; what the container says."""
    return httpx.post(f"http://{address}/predict", content=route, timeout=10).json()


def test_a_container_is_probed_at_its_own_routes(make: Factory, base_image: str) -> None:
    deployment = probed(make, base_image)
    began = time.monotonic()
    row = until(deployment, lambda row: row.state == "Healthy")
    assert time.monotonic() - began > SLOW_SECONDS, "the startup probe held the others back"
    assert row.restarts == 0
    until(deployment, lambda _: deployment.endpoint.deployments.get().state == "Succeeded")
    assert toggle(row.address, "") == {
        "path": "/predict",
        "models": [f"/models/both/1/both/{size}/1/weights.txt" for size in ("large", "small")],
        "told": "it's told",
    }

    # Not ready: it leaves the routes, is not restarted, and comes back.
    address, started_at = row.address, row.probes["run"]
    toggle(address, "/ready")
    row = until(deployment, lambda row: row.state == "Unready")
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in row.reason
    assert Upstream.objects.get(endpoint=deployment.endpoint).addresses == []
    toggle(address, "/ready")
    row = until(deployment, lambda row: row.state == "Healthy")
    assert (row.restarts, row.probes["run"]) == (0, started_at)
    assert Upstream.objects.get(endpoint=deployment.endpoint).addresses == [address]

    # Not alive: it is restarted, says why, and serves again; the next time it has to wait longer.
    toggle(address, "/alive")
    row = until(deployment, lambda row: row.restarts > 0)
    words = "Liveness probe failed: HTTP probe failed with statuscode: 503 (2 times in a row)."
    assert (row.reason, row.restarts) == (words, 1)
    row = until(deployment, lambda row: row.state == "Healthy")
    assert row.probes["run"] != started_at
    toggle(row.address, "/alive")
    again = until(deployment, lambda row: row.restarts > 1)
    assert again.state in ("Exited", "Starting")
