"""Computes: clusters and attached Kubernetes clusters, read and written (wire 11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, page, system_data, type_of, word_of
from api.bodies import Body, iso_duration
from api.compute_engines import get_compute, parse_place, present_place
from api.operations import Ticket, started
from api.resource_identity import parse_identity, present_identity
from deployments.computes import change_compute, delete_compute
from workspaces.computes import ComputeSpec, create_compute, find_compute, spec_of
from workspaces.errors import Conflict, UserError
from workspaces.models import Compute, User

KINDS: dict[str, str] = {
    "AmlCompute": Compute.Kind.AMLCOMPUTE,
    "Kubernetes": Compute.Kind.KUBERNETES,
}
TIERS: dict[str, str] = {
    "Dedicated": Compute.Tier.DEDICATED,
    "LowPriority": Compute.Tier.LOW_PRIORITY,
}
SSH_ACCESS: dict[str, str] = {
    "NotSpecified": Compute.SshAccess.NOT_SPECIFIED,
    "Enabled": Compute.SshAccess.ENABLED,
    "Disabled": Compute.SshAccess.DISABLED,
}
DELETE, DETACH = "delete", "detach"
NODE_STATES = ("idle", "running", "preparing", "unusable", "leaving", "preempted")


class ComputeList(ArmView):
    actions = {"GET": "computes/read"}

    def get(self, request: Request) -> Response:
        rows = self.workspace.computes.select_related("workspace", "instance_type", "created_by")
        return page(request, rows.prefetch_related("engines"), partial(present, to=self.caller))


class ComputeDetail(ArmView):
    actions = {
        "GET": "computes/read",
        "PUT": "computes/write",
        "PATCH": "computes/write",
        "DELETE": "computes/delete",
    }

    def get(self, request: Request, compute: str) -> Response:
        return Response(present(get_compute(self.workspace, compute), to=self.caller))

    def put(self, request: Request, compute: str) -> Response:
        """The whole wish; what can never change need not be repeated."""
        body = self.body()
        current = find_compute(self.workspace, compute)
        if current is None:
            wanted = parse(body, ComputeSpec(name=compute))
            try:
                made = create_compute(self.workspace, wanted, by=self.caller)
            except Conflict:
                # The same request may have come twice at once; then the other one made it.
                current = find_compute(self.workspace, compute)
                if current is None:
                    raise
            else:
                return self._written(made, status=201)
        wanted = parse(body, _kept(current))
        return self._written(change_compute(current, wanted, by=self.caller))

    def patch(self, request: Request, compute: str) -> Response:
        """What the body mentions, such as the number of nodes; tags key by key."""
        current = get_compute(self.workspace, compute)
        wanted = parse(self.body(), spec_of(current), merges=True)
        return self._written(change_compute(current, wanted, by=self.caller))

    def delete(self, request: Request, compute: str) -> Response:
        """`underlyingResourceAction=Detach` is for Kubernetes alone, which is left as it is either way."""
        current = find_compute(self.workspace, compute)
        if current is None:
            return Response(status=204)
        query = Body(request.query_params)
        actions = {"Delete": DELETE, "Detach": DETACH}
        action = query.choice("underlyingResourceAction", actions, DELETE)
        query.finish()
        if action == DETACH and current.is_cluster:
            raise UserError(
                f"Compute '{current.name}' is a cluster of this workspace and cannot be detached. Delete it instead.",
                target="underlyingResourceAction",
            )
        delete_compute(current, by=self.caller)
        ticket = Ticket("compute", is_delete=True, pk=current.pk)
        return started(request, self.workspace, ticket, None, status=202)

    def _written(self, compute: Compute, *, status: int = 200) -> Response:
        ticket = Ticket("compute", is_delete=False, pk=compute.pk)
        fresh = find_compute(self.workspace, compute.name) or compute
        told = present(fresh, to=self.caller)
        # A client of a Kubernetes compute takes every property there for one of the cluster's.
        return started(
            self.request, self.workspace, ticket, told, status=status, tells_address=False
        )


class NodeList(ArmView):
    actions = {"POST": "computes/listNodes/action"}

    def post(self, request: Request, compute: str) -> Response:
        """No nodes: they come with jobs, and this version runs none."""
        get_compute(self.workspace, compute)
        return Response({"nodes": []})


def parse(values: Mapping[str, Any], base: ComputeSpec, *, merges: bool = False) -> ComputeSpec:
    """The wish that a body states; what it does not mention is as in `base`."""
    body = Body(values)
    outer = body.section("properties")
    inner = outer.section("properties")
    scale = inner.section("scaleSettings")
    subnet = inner.section("subnet")
    read = Body.merged_texts if merges else Body.texts
    idle = scale.duration("nodeIdleTimeBeforeScaleDown", timedelta(seconds=base.idle_seconds))
    wanted = ComputeSpec(
        name=base.name,
        kind=outer.choice("computeType", KINDS, base.kind),
        description=outer.text("description", base.description),
        tags=read(body, "tags", base.tags),
        location=body.text("location", base.location, longest=40),
        instance_type=inner.text("vmSize", base.instance_type, longest=60),
        tier=inner.choice("vmPriority", TIERS, base.tier),
        min_instances=scale.whole("minNodeCount", base.min_instances),
        max_instances=scale.whole("maxNodeCount", base.max_instances),
        idle_seconds=round(idle / timedelta(seconds=1)),
        identity=parse_identity(body, base.identity),
        ssh_public_access=inner.choice(
            "remoteLoginPortPublicAccess", SSH_ACCESS, base.ssh_public_access
        ),
        ssh_settings=_ssh_settings(inner, base.ssh_settings),
        subnet=subnet.text("id", base.subnet, longest=500),
        has_node_public_ip=inner.flag("enableNodePublicIp", base.has_node_public_ip),
        resource_id=outer.text("resourceId", base.resource_id, longest=500),
        namespace=inner.text("namespace", base.namespace, longest=63),
        default_instance_type=inner.text(
            "defaultInstanceType", base.default_instance_type, longest=60
        ),
        instance_types=inner.mapping("instanceTypes", base.instance_types),
        **parse_place(inner, base),
    )
    body.finish()
    return wanted


def present(compute: Compute, *, to: User | None) -> Json:
    """As this user may see it: addresses of engines are for administrators."""
    outer: Json = {
        "computeType": word_of(KINDS, compute.kind),
        "computeLocation": compute.location,
        "description": compute.description,
        "provisioningState": "Succeeded",
        "isAttachedCompute": not compute.is_cluster,
        **system_times(compute),
    }
    if compute.is_cluster:
        outer |= {
            "disableLocalAuth": not compute.ssh_settings,
            "properties": _present_cluster(compute),
        }
    else:
        outer |= {
            "resourceId": compute.resource_id or None,
            "properties": {
                "namespace": compute.namespace,
                "defaultInstanceType": compute.default_instance_type or None,
                "instanceTypes": compute.instance_types,
                **present_place(compute, to=to),
            },
        }
    told: Json = {
        "id": compute.arm_id,
        "name": compute.name,
        "type": type_of("computes"),
        "location": compute.location,
        "tags": compute.tags,
        "properties": outer,
        "systemData": system_data(compute),
    }
    if compute.identity:
        told["identity"] = present_identity(compute.identity)
    return told


def system_times(compute: Compute) -> Json:
    """The times again, where Azure's older clients look for them."""
    told = system_data(compute)
    return {"createdOn": told["createdAt"], "modifiedOn": told["lastModifiedAt"]}


def _present_cluster(compute: Compute) -> Json:
    size = compute.instance_type
    told: Json = {
        "vmSize": size.name if size else None,
        "vmPriority": word_of(TIERS, compute.tier),
        "osType": "Linux",
        "scaleSettings": {
            "minNodeCount": compute.min_instances,
            "maxNodeCount": compute.max_instances,
            "nodeIdleTimeBeforeScaleDown": iso_duration(timedelta(seconds=compute.idle_seconds)),
        },
        "remoteLoginPortPublicAccess": word_of(SSH_ACCESS, compute.ssh_public_access),
        "enableNodePublicIp": compute.has_node_public_ip,
        "allocationState": "Steady",
        "currentNodeCount": 0,
        "targetNodeCount": 0,
        "nodeStateCounts": {f"{state}NodeCount": 0 for state in NODE_STATES},
    }
    if compute.subnet:
        told["subnet"] = {"id": compute.subnet}
    if compute.ssh_settings:
        told["userAccountCredentials"] = {
            "adminUserName": compute.ssh_settings.get("admin_username", ""),
            "adminUserSshPublicKey": compute.ssh_settings.get("ssh_key_value", ""),
        }
    return told


def _kept(compute: Compute) -> ComputeSpec:
    """What a PUT need not repeat: what never changes, and where it runs deployments, of which Azure knows nothing."""
    current = spec_of(compute)
    return replace(
        ComputeSpec(name=current.name),
        kind=current.kind,
        location=current.location,
        instance_type=current.instance_type,
        tier=current.tier,
        resource_id=current.resource_id,
        namespace=current.namespace,
        runtime=current.runtime,
        engines=current.engines,
    )


def _ssh_settings(inner: Body, base: dict[str, str]) -> dict[str, str]:
    """Without the password, which nothing here would use."""
    if not inner.has("userAccountCredentials"):
        return base
    section = inner.section("userAccountCredentials")
    found = {
        "admin_username": section.text("adminUserName", longest=100),
        "ssh_key_value": section.text("adminUserSshPublicKey"),
    }
    return {name: value for name, value in found.items() if value}
