"""Computes: clusters, and attached Kubernetes clusters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import (
    Entity,
    Program,
    command,
    request,
    rest,
    script,
    segment,
    without_empty,
    write_file,
    yaml_text,
)

TIERS = {"dedicated": "Dedicated", "low_priority": "LowPriority"}


@dataclass(frozen=True)
class Compute:
    """`size` and what follows are of clusters; `namespace` and `resource_id` of Kubernetes."""

    name: str
    is_kubernetes: bool = False
    size: str = ""
    tier: str = "dedicated"
    min_instances: int = 0
    max_instances: int = 1
    idle_seconds: int = 120
    namespace: str = "default"
    resource_id: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    """Portico's own, of Kubernetes."""


def write(place: Place, compute: Compute) -> Forms:
    """Make it, or put this one in its place: both are the same PUT."""
    text = yaml_text(*_yaml(compute))
    program = Program(place)
    if compute.is_kubernetes:
        entity = Entity("KubernetesCompute", without_empty(_fields(compute)))
        program.do("compute.begin_attach", entity)
    else:
        entity = Entity("AmlCompute", without_empty(_fields(compute)))
        program.do("compute.begin_create_or_update", entity)
    return Forms(
        yaml={"compute.yml": text},
        cli=script(
            *write_file("compute.yml", text), command("compute create", place, file="compute.yml")
        ),
        python=program.text,
        rest=rest(place, request("PUT", _path(compute.name), _body(compute))),
    )


def delete(place: Place, compute: Compute) -> Forms:
    program = Program(place)
    program.do("compute.begin_delete", compute.name)
    return Forms(
        yaml={"compute.yml": yaml_text(*_yaml(compute))},
        cli=script(command("compute delete --yes", place, name=compute.name)),
        python=program.text,
        rest=rest(place, request("DELETE", _path(compute.name))),
    )


def _yaml(compute: Compute) -> tuple[str, dict[str, Any]]:
    kind = "kubernetes" if compute.is_kubernetes else "amlcompute"
    schema = "kubernetesCompute" if compute.is_kubernetes else "amlCompute"
    return schema, {"name": compute.name, "type": kind, **_fields(compute)}


def _fields(compute: Compute) -> dict[str, Any]:
    common = {"description": compute.description, "tags": dict(compute.tags)}
    if compute.is_kubernetes:
        own: dict[str, Any] = {"namespace": compute.namespace, "resource_id": compute.resource_id}
        if compute.runtime:
            own["properties"] = _place(compute)
        return {"name": compute.name, **own, **common}
    return {
        "name": compute.name,
        "size": compute.size,
        "tier": compute.tier,
        "min_instances": compute.min_instances,
        "max_instances": compute.max_instances,
        "idle_time_before_scale_down": compute.idle_seconds,
        **common,
    }


def _place(compute: Compute) -> dict[str, Any]:
    return {"portico": {"runtime": compute.runtime}} if compute.runtime else {}


def _body(compute: Compute) -> dict[str, Any]:
    outer: dict[str, Any] = {"description": compute.description}
    if compute.is_kubernetes:
        outer |= {
            "computeType": "Kubernetes",
            "resourceId": compute.resource_id,
            "properties": {"namespace": compute.namespace, **_place(compute)},
        }
    else:
        outer |= {
            "computeType": "AmlCompute",
            "properties": {
                "vmSize": compute.size,
                "vmPriority": TIERS.get(compute.tier, compute.tier),
                "scaleSettings": {
                    "minNodeCount": compute.min_instances,
                    "maxNodeCount": compute.max_instances,
                    "nodeIdleTimeBeforeScaleDown": f"PT{compute.idle_seconds}S",
                },
            },
        }
    return {
        "location": "local",
        "tags": dict(compute.tags),
        "properties": without_empty(outer),
    }


def _path(name: str) -> str:
    return f"computes/{segment(name)}"
