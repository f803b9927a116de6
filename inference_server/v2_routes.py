"""The Open Inference Protocol (V2) in the I/O process: everything but the inferences is answered here."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from inference_server.settings import CONTRACT_VERSION

SERVER_NAME = "portico"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
NOT_HERE = "is not available here; see the documentation of Portico for what is"
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
NO_SCRIPT = (
    "This deployment serves a model repository, not a scoring script. Use the Open Inference Protocol: "
    "POST /v2/models/<model>/infer."
)


@dataclass(frozen=True)
class Reply:
    """An answer in JSON."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Inference:
    """A request that a worker must answer: which model, by the version that was asked for."""

    model: str
    version: str

    def order(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """What the worker needs to know of the request's line and headers, as JSON."""
        found = {name: value.decode("latin-1") for name, value in headers}
        length = found.get(b"inference-header-content-length", "")
        order = {
            "model": self.model,
            "version": self.version,
            "header_bytes": int(length) if length.isdigit() else None,
            "encoding": found.get(b"content-encoding", ""),
            "accepts": found.get(b"accept-encoding", ""),
        }
        return json.dumps(order).encode()


@dataclass
class Statistics:
    """What one version of a model has done since the server started."""

    last_inference_ms: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DURATIONS, 0))
    nanoseconds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DURATIONS, 0))

    def add(self, name: str, seconds: float) -> None:
        self.counts[name] += 1
        self.nanoseconds[name] += int(seconds * 1e9)


class Routes:
    """Finds the answer to a request for a path below /v2; knows the models once a worker is ready."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Any]] = {}
        self._statistics: dict[tuple[str, str], Statistics] = {}

    def learn(self, models: list[dict[str, Any]]) -> None:
        """What the first ready worker told about the models that it has loaded."""
        self._models = {model["metadata"]["name"]: model for model in models}
        self._statistics = {
            (name, version): Statistics()
            for name, model in self._models.items()
            for version in model["versions"]
        }

    def find(self, method: bytes, path: bytes, *, is_ready: bool) -> Reply | Inference:
        """The answer, or what a worker is to infer. `path` begins with /v2 and is unquoted."""
        parts = path.decode("utf-8", "replace").strip("/").split("/")[1:]
        if parts[:1] == ["models"] and len(parts) >= 2 and parts[-1] == "infer":
            return self._inference(method, parts[1:-1])
        if parts == ["repository", "index"]:
            return self._index() if method == b"POST" else _not_allowed(method, "POST")
        if parts[:2] == ["repository", "models"]:
            return _error(
                400,
                "explicit model load / unload is not allowed: deploy another version of the model instead",
            )
        if method not in (b"GET", b"HEAD"):
            return _not_allowed(method, "GET")
        if not parts:
            return _json(
                {"name": SERVER_NAME, "version": CONTRACT_VERSION, "extensions": EXTENSIONS}
            )
        if parts == ["health", "live"]:
            return Reply(200, b"")
        if parts == ["health", "ready"]:
            return Reply(200 if is_ready else 400, b"")
        if parts == ["models", "stats"]:
            return self._told_statistics(list(self._statistics))
        if parts[0] == "models" and len(parts) >= 2:
            return self._of_model(parts[1:], is_ready=is_ready)
        return _error(404, f"/v2/{'/'.join(parts)} {NOT_HERE}")

    def count(
        self, inference: Inference, status: int, total_seconds: float, took_ms: float
    ) -> None:
        """Adds one finished inference; `took_ms` is the worker's part, negative if none took it."""
        model = self._models.get(inference.model)
        if model is None:
            return
        version = inference.version or model["versions"][-1]
        found = self._statistics.get((inference.model, version))
        if found is None:
            return
        if status != 200:
            found.add("fail", total_seconds)
            return
        inside = max(took_ms, 0.0) / 1000
        found.last_inference_ms = int(time.time() * 1000)
        found.add("success", total_seconds)
        found.add("queue", max(total_seconds - inside, 0.0))
        found.add("compute_input", 0.0)
        found.add("compute_infer", inside)
        found.add("compute_output", 0.0)

    def _inference(self, method: bytes, parts: list[str]) -> Reply | Inference:
        if method != b"POST":
            return _not_allowed(method, "POST")
        place = _model_and_version(parts)
        if place is None:
            return _error(
                404, "The path of an inference is /v2/models/<model>[/versions/<version>]/infer"
            )
        return Inference(*place)

    def _of_model(self, parts: list[str], *, is_ready: bool) -> Reply:
        verb = parts[-1] if parts[-1] in ("ready", "config", "stats") and len(parts) > 1 else ""
        place = _model_and_version(parts[:-1] if verb else parts)
        if place is None:
            return _error(404, f"/v2/models/{'/'.join(parts)} {NOT_HERE}")
        name, version = place
        model = self._models.get(name)
        is_known = model is not None and (not version or version in model["versions"])
        if verb == "ready":
            return Reply(200 if is_known and is_ready else 400, b"")
        if model is None or not is_known:
            named = f"'{name}' version {version}" if version else f"'{name}'"
            status = 404 if self._models or is_ready else 503
            return _error(status, f"Request for unknown model: {named} is not found")
        if verb == "config":
            return _json(model["config"])
        if verb == "stats":
            wanted = [version] if version else model["versions"]
            return self._told_statistics([(name, one) for one in wanted])
        return _json(model["metadata"])

    def _index(self) -> Reply:
        return _json(
            [
                {"name": name, "version": version, "state": "READY", "reason": ""}
                for name, model in self._models.items()
                for version in model["versions"]
            ]
        )

    def _told_statistics(self, keys: list[tuple[str, str]]) -> Reply:
        return _json({"model_stats": [_told(*key, self._statistics[key]) for key in keys]})


def _told(name: str, version: str, found: Statistics) -> dict[str, Any]:
    durations = {
        key: {"count": found.counts[key], "ns": found.nanoseconds[key]} for key in DURATIONS
    }
    done = found.counts["success"]
    return {
        "name": name,
        "version": version,
        "last_inference": found.last_inference_ms,
        "inference_count": done,
        "execution_count": done,
        "inference_stats": {
            **durations,
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }


def _model_and_version(parts: list[str]) -> tuple[str, str] | None:
    """`[model]` or `[model, "versions", version]`; None for anything else."""
    if len(parts) == 1 and parts[0]:
        return parts[0], ""
    if len(parts) == 3 and parts[1] == "versions":
        return parts[0], parts[2]
    return None


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode())


def _error(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"error": message}).encode())


def _not_allowed(method: bytes, allowed: str) -> Reply:
    return _error(405, f"The method {method.decode('latin-1')} is not allowed; use {allowed}")
