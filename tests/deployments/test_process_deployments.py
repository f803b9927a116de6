"""Provisioning on the process runtime with the real inference server: what users' scripts meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone
from pytest_django import Settings

from deployments import debugging, installation, provisioning, tasks
from deployments.models import DebugSession, Instance, OnlineDeployment
from deployments.probing import Prober
from deployments.runtimes.process import ProcessRuntime
from tests.debugger_client import debugger
from tests.deployments.conftest import SCRIPT, Factory, advance_once
from workspaces.models import InstanceType

Result = TypeVar("Result")

pytestmark = [pytest.mark.django_db, pytest.mark.real]


@pytest.fixture(autouse=True)
def process_runtime(settings: Settings, runtime: object) -> Iterator[ProcessRuntime]:
    settings.DEPLOYMENT_RUNTIME = "process"
    settings.DEPLOYMENTS_ROOT = settings.PORTICO_HOME / "deployments"
    settings.PORTICO_HOME.mkdir(exist_ok=True)
    Path(settings.RUN_DIR).mkdir(exist_ok=True, mode=0o711)
    installation.forget_runtimes()
    started = installation.runtime()
    assert isinstance(started, ProcessRuntime)
    yield started
    for name in started.owned():
        started.remove(name)


def provisioned(deployment: OnlineDeployment) -> OnlineDeployment:
    """Advance with the pauses that the worker would make."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        fresh = OnlineDeployment.objects.get(pk=deployment.pk)
        if fresh.state in ("Succeeded", "Failed"):
            return fresh
        advance_once(fresh)
        time.sleep(0.05)
    seen = list(Instance.objects.values("name", "state", "reason", "evidence"))
    raise AssertionError(
        f"still {fresh.state}: {seen} {list(fresh.operations.get().phases.all())}"
    )


async def in_this_thread(action: Callable[[], Result]) -> Result:
    return await sync_to_async(action)()


def score(
    deployment: OnlineDeployment, body: str, *, timeout_seconds: float = 10
) -> httpx.Response:
    address = Instance.objects.get(deployment=deployment, state="Healthy").address
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    with httpx.Client(transport=transport, base_url="http://model") as client:
        return client.post("/score", content=body, timeout=timeout_seconds)


def test_a_script_scores(make: Factory) -> None:
    deployment = provisioned(make.deployment())
    assert deployment.state == "Succeeded", deployment.failure
    assert score(deployment, '{"a": 1}').json() == '{"a": 1}'


FAULTS = [
    (
        b"import nowhere_to_be_found\ndef run(x): pass\n",
        "UserScriptImportError",
        "nowhere_to_be_found",
    ),
    (b"def init():\n    pass\n", "UserScriptFunctionNotFound", "run"),
    (
        b"def init():\n    open('model.pkl')\n\ndef run(x): pass\n",
        "UserScriptInitFailed",
        "FileNotFoundError",
    ),
    (
        b"def init():\n    global a\n    a = bytearray(900 * 2**20)\n    a[::4096] = b'1' * len(a[::4096])\n"
        b"def run(x): pass\n",
        "OutOfMemory",
        "limit",
    ),
]


@pytest.mark.parametrize(("script", "code", "word"), FAULTS, ids=[row[1] for row in FAULTS])
def test_a_fault_in_the_script_is_explained(
    make: Factory, script: bytes, code: str, word: str, settings: Settings
) -> None:
    InstanceType.objects.create(name="Small", cores=1, memory_bytes=512 * 2**20)
    deployment = provisioned(make.deployment(script=script, instance_type="Small"))
    assert deployment.state == "Failed"
    assert deployment.failure["code"] == code, deployment.failure
    assert word in deployment.failure["cause"]
    assert deployment.failure["evidence"]


STOPS_ANSWERING = b"""
import os, signal

def init():
    pass

def run(data):
    print("now it hangs", flush=True)
    os.kill(os.getppid(), signal.SIGSTOP)
    return data
"""


async def watched_until_restarted() -> set[str]:
    """What watch, sweep and worker do until an instance serves again; the reasons that its row named meanwhile."""
    prober, reasons = Prober(), set()

    def swept() -> bool:
        for pk in provisioning.sweep():
            advance_once(OnlineDeployment(pk=pk))
        row = Instance.objects.get()
        reasons.add(row.reason)
        return row.restarts > 0 and row.state == "Healthy"

    until = time.monotonic() + 40
    while not await in_this_thread(swept) and time.monotonic() < until:
        await prober.step(in_this_thread)
        await asyncio.sleep(0.1)
    await prober.close()
    return reasons


def test_a_server_that_stops_answering_is_restarted_and_says_why(make: Factory) -> None:
    probe = {"initial_delay": 1, "period": 1, "timeout": 1, "failure_threshold": 2}
    deployment = provisioned(make.deployment(script=STOPS_ANSWERING, liveness_probe=probe))
    assert deployment.state == "Succeeded", deployment.failure
    with pytest.raises(httpx.TimeoutException):
        score(deployment, "x", timeout_seconds=0.5)
    reasons = async_to_sync(watched_until_restarted)()
    row = Instance.objects.get()
    assert (row.state, row.restarts) == ("Healthy", 1)
    words = "Liveness probe failed: HTTP probe got no answer within 1 s (2 times in a row)."
    assert words in reasons


def test_an_instance_that_is_killed_is_back_without_anybody_asking(
    make: Factory, process_runtime: ProcessRuntime
) -> None:
    deployment = provisioned(make.deployment())
    name = Instance.objects.get().name
    process_runtime.remove(name)
    assert provisioning.sweep() == [deployment.pk]
    until = time.monotonic() + 20
    advance_once(deployment)
    while Instance.objects.get().state != "Healthy" and time.monotonic() < until:
        time.sleep(0.05)
        advance_once(deployment)
    assert score(deployment, "x").status_code == 200


def test_a_debugger_attaches_to_a_debug_session(make: Factory) -> None:
    deployment = provisioned(make.deployment())
    session = debugging.start(deployment, by=make.alice)
    until = time.monotonic() + 30
    while session.state != "Running":
        assert time.monotonic() < until, (session.state, session.reason, session.evidence)
        DebugSession.objects.update(due_at=timezone.now())
        tasks.advance_debug_session(session.pk)
        session.refresh_from_db()
        time.sleep(0.05)
    (mapping,) = debugging.launch_entry(session)["pathMappings"]
    script = f"{mapping['remoteRoot']}/score.py"
    transport = httpx.HTTPTransport(uds=session.address.removeprefix("unix:"))
    with (
        httpx.Client(transport=transport, base_url="http://model", timeout=30) as client,
        debugger(session.debug_host, session.debug_port) as attached,
        ThreadPoolExecutor(1) as threads,
    ):
        attached.attach({script: SCRIPT.decode().splitlines().index("    return data") + 1})
        future = threads.submit(client.post, "/score", content="7")
        path, _line, variables = attached.wait_for_stop()
        assert (path, variables["data"]) == (script, "'7'")
        # What serves goes on meanwhile.
        assert score(deployment, "8").json() == "8"
        attached.go_on()
        assert future.result().json() == "7"
    DebugSession.objects.update(expires_at=timezone.now(), due_at=timezone.now())
    tasks.advance_debug_session(session.pk)
    assert session.name not in set(installation.runtime().owned())
