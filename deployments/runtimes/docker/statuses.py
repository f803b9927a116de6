"""What becomes of what an engine says about a container: a phase, an address, or why it ended."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from deployments.runtimes import InstanceStatus, Phase
from deployments.runtimes.docker import consoles
from deployments.runtimes.docker.containers import DIGEST, FACTS, MEMORY
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.endings import Ending
from deployments.runtimes.limits import MemoryFigures
from deployments.runtimes.records import ServerStatus

PROBE_SECONDS = 1.0
SIGNALS_FROM, LAST_SIGNAL = 128, 64
FAILED_TO_START = {125, 126, 127, 128}

Record = dict[str, Any]


def seen(engine: Engine, facts: dict[str, Any]) -> InstanceStatus:
    """The status of a container that is there."""
    state, labels = facts["State"], facts["Config"]["Labels"]
    common: dict[str, Any] = {
        "digest": labels[DIGEST],
        "node": engine.name,
        "started_at": consoles.time_of(state["StartedAt"]),
    }
    if state["Status"] == "created" and not state["Error"]:
        # Whoever made it died before starting it.
        return InstanceStatus(Phase.ABSENT)
    if state["Status"] == "removing":
        return InstanceStatus(Phase.ABSENT)
    if state["Paused"]:
        reason = "It was paused by hand: `docker unpause` wakes it up."
        return InstanceStatus(Phase.STARTING, reason=reason, **common)
    if not state["Running"]:
        return _ended(engine, facts, common)
    address = address_of(engine, facts)
    if address and answers(address, *probe_of(facts)):
        return InstanceStatus(Phase.HEALTHY, address=address, **common)
    server, _ = consoles.last_words(engine, facts["Id"], common["started_at"])
    return InstanceStatus(
        Phase.STARTING,
        address=address,
        code=server.code,
        reason=server.message,
        evidence=server.evidence,
        **common,
    )


def unseen(record: Record | None, reason: str) -> InstanceStatus:
    """While the engine is away: what it runs may serve all the same, and must not be started twice."""
    if record is None or "failure" in record:
        return refused("InternalServerError", reason, (record or {}).get("digest", ""))
    address = record.get("address", "")
    digest = record["digest"]
    if address and answers(address, *record["probe"]):
        return InstanceStatus(Phase.HEALTHY, address=address, reason=reason, digest=digest)
    return InstanceStatus(Phase.STARTING, address=address, reason=reason, digest=digest)


def missing(record: Record | None) -> InstanceStatus:
    """Without a container: never started, removed by hand, or refused."""
    failure = (record or {}).get("failure")
    if record is None or failure is None:
        return InstanceStatus(Phase.ABSENT)
    return refused(failure["code"], failure["reason"], record["digest"])


def refused(code: str, reason: str, digest: str) -> InstanceStatus:
    return InstanceStatus(Phase.EXITED, code=code, reason=reason, digest=digest)


def address_of(engine: Engine, facts: dict[str, Any]) -> str:
    """Where it is reached: at a port that is published, else in its network on this machine."""
    port = _facts_of(facts)["port"]
    published = (facts["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp") or []
    if published:
        host = engine.address.host or published[0]["HostIp"]
        return f"{host}:{published[0]['HostPort']}"
    if not engine.is_local:
        return ""
    for network in facts["NetworkSettings"]["Networks"].values():
        if network["IPAddress"]:
            return f"{network['IPAddress']}:{port}"
    return ""


def probe_of(facts: dict[str, Any]) -> tuple[str, int]:
    """Path and port that tell whether it is ready; the port as it is reached from here."""
    known = _facts_of(facts)
    port = known["readiness_port"]
    published = (facts["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp") or []
    if published:
        port = int(published[0]["HostPort"])
    return known["readiness_path"], port


def answers(address: str, path: str, port: int) -> bool:
    """Whether `GET path` gives 2xx or 3xx in time."""
    host = address.rpartition(":")[0]
    request = f"GET {path} HTTP/1.1\r\nHost: instance\r\nConnection: close\r\n\r\n"
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, port), PROBE_SECONDS) as connection,
    ):
        connection.settimeout(PROBE_SECONDS)
        connection.sendall(request.encode())
        version, _, rest = connection.recv(64).partition(b" ")
        return version.startswith(b"HTTP/") and rest[:1] in (b"2", b"3")
    return False


def _ended(engine: Engine, facts: dict[str, Any], common: dict[str, Any]) -> InstanceStatus:
    state, labels = facts["State"], facts["Config"]["Labels"]
    code = int(state["ExitCode"])
    server, lines = ServerStatus(), tuple[str, ...]()
    if common["started_at"] is not None:
        server, lines = consoles.last_words(engine, facts["Id"], common["started_at"])
    limit = int(labels[MEMORY])
    # One that lost a helper for want of memory long ago, and was stopped now, did not end by that.
    ran_out = state["OOMKilled"] and code != 0
    ending = Ending(
        server=server,
        memory=MemoryFigures(used_bytes=0, peak_bytes=limit, killed=int(ran_out)),
        memory_limit_bytes=limit,
        evidence=server.evidence or lines,
        failure=state["Error"] if code in FAILED_TO_START else "",
        signal_number=code - SIGNALS_FROM if 0 < code - SIGNALS_FROM <= LAST_SIGNAL else None,
        exit_code=code,
    )
    why, reason = ending.why()
    if _facts_of(facts)["is_custom"]:
        reason = reason.replace("The inference server", "The container")
    return InstanceStatus(
        Phase.EXITED,
        code=why,
        reason=reason,
        evidence=ending.told_evidence(),
        exit_code=code,
        **common,
    )


def _facts_of(facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facts["Config"]["Labels"][FACTS])
    return found
