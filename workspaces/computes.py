"""Creating, changing and deleting computes: clusters of batch jobs (facts 2.12), and attached ones of deployments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from math import ceil
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from workspaces import quota
from workspaces.activity import record
from workspaces.checker import Checker
from workspaces.compute_engines import (
    EngineSpec,
    check_engines,
    engine_specs,
    put_engines,
    require_operator,
    told,
)
from workspaces.errors import Conflict, UserError
from workspaces.instance_types import find_instance_type
from workspaces.models import Compute, InstanceType, User, Workspace

NAME = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]{0,22}[a-zA-Z0-9])?")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SHORTEST, LONGEST = 2, 24
MOST_IDLE_SECONDS = 30 * 24 * 3600
DEFAULT_SIZE = "Standard_DS3_v2"
FIXED = ("kind", "instance_type", "tier", "location", "resource_id", "namespace")
SSH_FIELDS = ("admin_username", "ssh_key_value")


@dataclass(frozen=True)
class ComputeSpec:
    """A whole wish; the fields after `idle_seconds` are kept for Azure's sake, and change nothing here."""

    name: str
    kind: str = Compute.Kind.AMLCOMPUTE
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    location: str = ""
    instance_type: str = ""
    tier: str = Compute.Tier.DEDICATED
    min_instances: int = 0
    max_instances: int = 1
    idle_seconds: int = 120
    identity: dict[str, Any] = field(default_factory=dict)
    ssh_public_access: str = Compute.SshAccess.NOT_SPECIFIED
    ssh_settings: dict[str, str] = field(default_factory=dict)
    subnet: str = ""
    has_node_public_ip: bool = True
    resource_id: str = ""
    namespace: str = ""
    default_instance_type: str = ""
    instance_types: dict[str, Any] = field(default_factory=dict)
    runtime: str = Compute.Runtime.AS_INSTALLATION
    engines: tuple[EngineSpec, ...] = ()
    """Of an attached one: where the deployments of endpoints that name it run."""


def create_compute(workspace: Workspace, spec: ComputeSpec, *, by: User | None) -> Compute:
    """Add the compute; it is ready at once, since nodes come with the first job.

    Raises `ValidationFailed` or `UserError` for wrong fields, `Conflict` for a taken name, OutOfQuota, `Forbidden` for
    a runtime or engines that only administrators choose.
    """
    wanted = _with_defaults(spec, workspace)
    size = check_spec(workspace, wanted)
    if wanted.runtime or wanted.engines:
        require_operator(by, wanted.name)
    try:
        with transaction.atomic():
            Workspace.objects.select_for_update().get(pk=workspace.pk)
            quota.check(workspace, "computes", used=workspace.computes.count(), wanted=1)
            facts = {**_facts(wanted), "instance_type": size}
            del facts["engines"]
            compute = Compute.objects.create(workspace=workspace, created_by=by, **facts)
            put_engines(compute, wanted.engines)
            record(workspace, "create", compute, by=by, after=_told(wanted))
    except IntegrityError as error:
        if "compute_name" not in str(error):
            raise
        raise Conflict(
            f"Workspace '{workspace.name}' already has a compute '{spec.name}'. Change that one, or choose another "
            "name.",
            target="name",
        ) from error
    return compute


def update_compute(compute: Compute, spec: ComputeSpec, *, by: User | None) -> Compute:
    """Make the compute what `spec` says, whole; the same again changes nothing.

    Kind, size, tier, location and what a Kubernetes cluster is attached by never change. `Forbidden` for a runtime or
    engines that only administrators choose; what runs on the engines is not looked at (`deployments.computes`).
    """
    with transaction.atomic():
        locked = Compute.objects.select_for_update(of=("self",)).filter(pk=compute.pk)
        found = locked.select_related("workspace", "instance_type", "created_by").first()
        if found is None:
            raise Conflict(f"Compute '{compute.name}' was deleted meanwhile.", target="name")
        current = spec_of(found)
        wanted = replace(_with_defaults(spec, found.workspace), name=found.name)
        _check_fixed(current, wanted)
        size = check_spec(found.workspace, wanted, known=current.engines)
        wanted = replace(wanted, instance_type=size.name if size else "")
        if current == wanted:
            return found
        if (current.runtime, current.engines) != (wanted.runtime, wanted.engines):
            require_operator(by, found.name)
        changed = {
            name: value
            for name, value in _facts(wanted).items()
            if name != "instance_type" and value != getattr(current, name)
        }
        before = {name: getattr(current, name) for name in changed}
        after = dict(changed)
        if changed.pop("engines", None) is not None:
            put_engines(found, wanted.engines)
            before["engines"], after["engines"] = told(current.engines), told(wanted.engines)
        for name, value in changed.items():
            setattr(found, name, value)
        found.updated_at = timezone.now()
        found.save(update_fields=[*changed, "updated_at"])
        record(found.workspace, "update", found, by=by, before=before, after=after)
    return found


def delete_compute(compute: Compute, *, by: User | None) -> None:
    """Take it away; what refers to it by name finds nothing from then on. Twice is success.

    `Forbidden` for one with engines, unless `by` administers the installation.
    """
    with transaction.atomic():
        found = Compute.objects.select_for_update().filter(pk=compute.pk).first()
        if found is None:
            return
        if found.engines.exists():
            require_operator(by, found.name)
        record(found.workspace, "delete", found, by=by)
        found.delete()


def spec_of(compute: Compute) -> ComputeSpec:
    """The compute's wish, to be changed and handed back."""
    names = {item.name for item in fields(ComputeSpec)} - {"instance_type", "engines"}
    size = compute.instance_type
    return ComputeSpec(
        **{name: getattr(compute, name) for name in names},
        instance_type=size.name if size else "",
        engines=engine_specs(compute),
    )


def find_compute(workspace: Workspace, name: str) -> Compute | None:
    """The compute of that name, without regard to case."""
    rows = workspace.computes.select_related("workspace", "instance_type", "created_by")
    return rows.prefetch_related("engines").filter(name__iexact=name).first()


def check_spec(
    workspace: Workspace, spec: ComputeSpec, *, known: tuple[EngineSpec, ...] = ()
) -> InstanceType | None:
    """The size of a cluster, None for Kubernetes; raises for every field that is wrong.

    Addresses of engines that are `known` are not looked at again.
    """
    checker = Checker()
    checker.run(check_name, spec.name)
    checker.text(spec.description, "description", 10_000)
    checker.texts(spec.tags, "tags")
    checker.text(spec.subnet, "network_settings.subnet", 500)
    checker.flag(spec.has_node_public_ip, "enable_node_public_ip")
    checker.choice(spec.ssh_public_access, "ssh_public_access", Compute.SshAccess.values)
    if checker.texts(spec.ssh_settings, "ssh_settings"):
        for name in spec.ssh_settings.keys() - set(SSH_FIELDS):
            checker.that(False, f"ssh_settings.{name}", f"ssh_settings has no '{name}' here.")
    size = None
    if checker.choice(spec.kind, "type", Compute.Kind.values):
        if spec.kind == Compute.Kind.AMLCOMPUTE:
            size = _check_cluster(workspace, spec, checker)
        else:
            _check_kubernetes(spec, checker)
            checker.run(_check_place, spec)
            check_engines(spec.engines, known, checker)
    checker.finish()
    return size


def check_name(name: object, *, target: str = "name") -> str:
    """The name of a compute, if it is allowed."""
    if isinstance(name, str) and SHORTEST <= len(name) <= LONGEST and NAME.fullmatch(name):
        return name
    raise UserError(
        f"The compute name {str(name)[:60]!r} is not allowed. It must have {SHORTEST} to {LONGEST} characters, start "
        "with a letter, end with a letter or digit, and hold only letters, digits and '-'.",
        target=target,
    )


def _check_cluster(
    workspace: Workspace, spec: ComputeSpec, checker: Checker
) -> InstanceType | None:
    checker.choice(spec.tier, "tier", Compute.Tier.values)
    most = quota.limit_of(workspace, "nodes_per_compute")
    has_low = checker.whole(spec.min_instances, "min_instances", 0, most)
    has_high = checker.whole(spec.max_instances, "max_instances", 1, most)
    checker.whole(spec.idle_seconds, "idle_time_before_scale_down", 0, MOST_IDLE_SECONDS)
    has_both = has_low and has_high
    checker.that(
        not has_both or spec.min_instances <= spec.max_instances,
        "min_instances",
        f"min_instances is {spec.min_instances}, more than max_instances, which is {spec.max_instances}.",
    )
    checker.that(
        not spec.runtime and not spec.engines,
        "engines" if spec.engines else "runtime",
        "A cluster runs batch jobs only. Runtime and engines belong to an attached compute, of type kubernetes.",
    )
    size: InstanceType | None = checker.run(find_instance_type, spec.instance_type, target="size")
    if size is not None and has_high:
        resource = "low_priority_cores" if spec.tier == Compute.Tier.LOW_PRIORITY else "cores"
        # Nodes come and go with jobs, so what others hold now does not count: all of them must fit at once.
        cores = ceil(spec.max_instances * float(size.cores))
        checker.run(quota.check, workspace, resource, used=0, wanted=cores, target="max_instances")
    return size


def _check_kubernetes(spec: ComputeSpec, checker: Checker) -> None:
    checker.text(spec.resource_id, "resource_id", 500)
    checker.text(spec.default_instance_type, "default_instance_type", 60)
    checker.that(
        NAMESPACE.fullmatch(spec.namespace) is not None,
        "namespace",
        f"namespace is {spec.namespace[:80]!r}. It must have at most 63 small letters, digits and '-'.",
    )
    checker.that(
        isinstance(spec.instance_types, dict),
        "instance_types",
        "instance_types must be a mapping.",
    )


def _check_place(spec: ComputeSpec) -> None:
    known = [value for value in Compute.Runtime.values if value]
    if spec.runtime and spec.runtime not in known:
        raise UserError(
            f"runtime is '{str(spec.runtime)[:60]}'. Use {' or '.join(known)}, or leave it out to run deployments as "
            "the installation does.",
            target="runtime",
        )
    if spec.runtime == Compute.Runtime.PROCESS and spec.engines:
        raise UserError(
            f"Compute '{spec.name}' runs deployments as processes of the portal's machine, which needs no engine. Set "
            "its runtime to docker, or remove its engines.",
            target="runtime",
        )


def _check_fixed(current: ComputeSpec, wanted: ComputeSpec) -> None:
    for name in FIXED:
        before, after = getattr(current, name), getattr(wanted, name)
        if before.lower() != after.lower():
            word = {"kind": "type", "instance_type": "size"}.get(name, name)
            raise UserError(
                f"The {word} of compute '{current.name}' is '{before}' and cannot be changed to '{after[:200]}'. "
                "Delete the compute and create it anew, or create another one.",
                target=word,
            )


def _with_defaults(spec: ComputeSpec, workspace: Workspace) -> ComputeSpec:
    is_cluster = spec.kind != Compute.Kind.KUBERNETES
    return replace(
        spec,
        location=spec.location or workspace.location,
        instance_type=(spec.instance_type or DEFAULT_SIZE) if is_cluster else "",
        namespace="" if is_cluster else spec.namespace or "default",
    )


def _facts(spec: ComputeSpec) -> dict[str, Any]:
    return {item.name: getattr(spec, item.name) for item in fields(ComputeSpec)}


def _told(spec: ComputeSpec) -> dict[str, Any]:
    """What the activity shows of a new compute."""
    if spec.kind == Compute.Kind.KUBERNETES:
        where = {"runtime": spec.runtime} if spec.runtime else {}
        engines = {"engines": told(spec.engines)} if spec.engines else {}
        return {"kind": spec.kind, "namespace": spec.namespace, **where, **engines}
    names = ("kind", "instance_type", "tier", "min_instances", "max_instances")
    return {name: getattr(spec, name) for name in names}
