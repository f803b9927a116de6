"""An ensemble: models of the repository called one after the other, tensors handed on by name.

Runs in the deployment's interpreter; Python 3.8 to 3.13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from inference_server.v2_config import ConfigError, ModelConfig
from inference_server.v2_tensors import Inference, Wanted


class Call(Protocol):
    """Calls a model of the repository; an empty version is the newest."""

    def __call__(self, name: str, version: str, request: Inference, /) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Step:
    """One model; the maps lead from its names to those of the ensemble."""

    model: str
    version: str
    inputs: dict[str, str]
    outputs: dict[str, str]


class Ensemble:
    """Runs each step once all tensors it needs are there."""

    def __init__(self, config: ModelConfig, call: Call) -> None:
        scheduling = config.raw.get("ensemble_scheduling") or {}
        self.steps = [_step(one) for one in scheduling.get("step", [])]
        self._call = call
        if not self.steps or not config.inputs or not config.outputs:
            raise ConfigError("an ensemble needs input, output and ensemble_scheduling.step")
        self._order = _ordered(self.steps, {spec.name for spec in config.inputs})

    def run(self, inputs: dict[str, Any], wanted: list[str], request: Inference) -> dict[str, Any]:
        tensors = dict(inputs)
        for step in self._order:
            given = {own: tensors[name] for own, name in step.inputs.items() if name in tensors}
            asked = [Wanted(name) for name in step.outputs]
            inner = Inference(request.id, request.parameters, given, wanted=asked)
            found = self._call(step.model, step.version, inner)
            tensors.update({name: found[own] for own, name in step.outputs.items()})
        return tensors


def _step(raw: dict[str, Any]) -> Step:
    version = int(raw.get("model_version", -1))
    return Step(
        model=str(raw.get("model_name", "")),
        version=str(version) if version > 0 else "",
        inputs={str(own): str(name) for own, name in raw.get("input_map", {}).items()},
        outputs={str(own): str(name) for own, name in raw.get("output_map", {}).items()},
    )


def _ordered(steps: list[Step], known: set[str]) -> list[Step]:
    """The steps so that each finds its tensors; ConfigError for one that never would."""
    waiting, ordered = list(steps), []
    while waiting:
        ready = next((one for one in waiting if set(one.inputs.values()) <= known), None)
        if ready is None:
            lacking = sorted(set(waiting[0].inputs.values()) - known)
            raise ConfigError(
                f"no step of the ensemble gives '{lacking[0]}', which '{waiting[0].model}' needs"
            )
        waiting.remove(ready)
        ordered.append(ready)
        known = known | set(ready.outputs.values())
    return ordered
