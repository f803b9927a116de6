"""Docker engines of attached computes. Azure has none, so there are our own commands and REST. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import command, request, rest, script, segment

GIB = 2**30
BODIES: dict[str, dict[str, Any]] = {
    "close": {"isSchedulable": False},
    "open": {"isSchedulable": True},
}


@dataclass(frozen=True)
class Engine:
    """Limits are 0 where there is none."""

    compute: str
    name: str
    url: str = ""
    cert_path: str = ""
    tls_verify: bool = True
    most_cores: float = 0.0
    most_memory_gib: float = 0.0
    is_schedulable: bool = True


def write(place: Place, engine: Engine, *, is_new: bool) -> Forms:
    """Add it, or put this one in its place."""
    flags = {
        "name": engine.compute,
        "engine": engine.name,
        "url": engine.url,
        "cert_path": engine.cert_path,
        "max_cores": f"{engine.most_cores:g}" if engine.most_cores else "",
        "max_memory_gib": f"{engine.most_memory_gib:g}" if engine.most_memory_gib else "",
    }
    if not is_new:
        flags["schedulable"] = "true" if engine.is_schedulable else "false"
    body: dict[str, Any] = {"url": engine.url, "isSchedulable": engine.is_schedulable}
    if engine.cert_path:
        body |= {"certPath": engine.cert_path, "tlsVerify": engine.tls_verify}
    if engine.most_cores:
        body["maxCores"] = engine.most_cores
    if engine.most_memory_gib:
        body["maxMemoryBytes"] = int(engine.most_memory_gib * GIB)
    verb = "attach-engine" if is_new else "update-engine"
    given = {name: value for name, value in flags.items() if value}
    return Forms(
        yaml={},
        cli=script(command(f"compute {verb}", place, **given)),
        rest=rest(place, request("PUT", _path(engine.compute, engine.name), body)),
    )


def act(place: Place, compute: str, engine: str, what: str) -> Forms:
    """`what` is `close`, `open`, `drain` or `remove`."""
    path, flags = _path(compute, engine), {"name": compute, "engine": engine}
    if what == "remove":
        words, call = "compute detach-engine --yes", request("DELETE", path)
    elif what == "drain":
        words, call = "compute drain-engine --yes", request("POST", f"{path}/drain")
    else:
        words, call = "compute update-engine", request("PATCH", path, BODIES[what])
        flags["schedulable"] = "true" if what == "open" else "false"
    return Forms(yaml={}, cli=script(command(words, place, **flags)), rest=rest(place, call))


def _path(compute: str, engine: str) -> str:
    return f"computes/{segment(compute)}/engines/{segment(engine)}"
