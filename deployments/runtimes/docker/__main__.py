"""`python -m deployments.runtimes.docker`: runs one container for a program that cannot import the house.

On standard input one JSON object: `do` (one of `VERBS`), `root`, `installation`, `engine` (`url`, `cert_path`,
`tls_verify`) and what the verb needs. On standard output one JSON object: `done` with the answer, or `away` with why
the engine does not answer. Needs no Django, no database and no portal.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.environments.orders import Order, say
from deployments.runtimes import InstanceSpec, InstanceStatus, Phase, RuntimeAway
from deployments.runtimes.docker import bundle
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.docker.local import LocalRuntime
from deployments.runtimes.server_bundle import lay_out

POLL_SECONDS = 0.1
PATHS = ("code_dir", "model_dir", "python")


def main() -> int:
    """0 with an answer, 1 when the engine does not answer, 130 after Ctrl-C."""
    order = json.load(sys.stdin)
    try:
        say("done", VERBS[order["do"]](order))
    except RuntimeAway as error:
        say("away", str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ask(order: Order) -> dict[str, Any]:
    """What the engine is like."""
    engine = Engine(_address(order))
    info = engine.info()
    return {
        "version": str(info.get("ServerVersion", "")),
        "is_local": engine.is_local,
        "has_gpus": "nvidia" in info.get("Runtimes", {}),
    }


def start(order: Order) -> dict[str, Any]:
    """Start `spec` in place of what had its name, and wait for `ready_seconds` (null: for ever) until it is ready."""
    runtime, spec = _runtime(order), _spec(order["spec"])
    runtime.remove(spec.name)
    status = runtime.ensure(spec)
    within = order["ready_seconds"]
    until = time.monotonic() + (math.inf if within is None else within)
    while status.phase == Phase.STARTING and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        status = runtime.inspect(spec.name)
    return _facts(status)


def look(order: Order) -> dict[str, Any]:
    """The status of `name`."""
    return _facts(_runtime(order).inspect(order["name"]))


def tail(order: Order) -> list[str]:
    """The last `lines` of the console of `name`."""
    lines = _runtime(order).logs(order["name"], since=datetime.fromtimestamp(0, UTC))
    return [line.text for line in deque(lines, maxlen=order["lines"])]


def stop(order: Order) -> None:
    """End and forget `name`; missing is success."""
    _runtime(order).remove(order["name"], grace_seconds=order["grace_seconds"])


VERBS = {"ask": ask, "start": start, "look": look, "tail": tail, "stop": stop}


def _address(order: Order) -> EngineAddress:
    return EngineAddress("docker", **order["engine"])


def _runtime(order: Order) -> LocalRuntime:
    root = Path(order["root"])
    return LocalRuntime(
        root / "containers",
        order["installation"],
        bundle.lay_out(root / "container-server", lay_out(root / "server")),
        _address(order),
        published={int(port): outside for port, outside in order.get("published", {}).items()},
        mounted={place: Path(path) for place, path in order.get("mounted", {}).items()},
    )


def _spec(values: dict[str, Any]) -> InstanceSpec:
    paths = {name: Path(values[name]) if values.get(name) else None for name in PATHS}
    return InstanceSpec(**{**values, **paths})


def _facts(status: InstanceStatus) -> dict[str, Any]:
    return {
        "phase": str(status.phase),
        "code": status.code,
        "reason": status.reason,
        "evidence": list(status.evidence),
    }


if __name__ == "__main__":
    sys.exit(main())
