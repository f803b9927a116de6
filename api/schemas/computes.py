"""Computes."""

from __future__ import annotations

from api.computes import KINDS, NODE_STATES, SSH_ACCESS, TIERS
from api.schemas.operations import (
    IDENTITY,
    PAGED,
    Routes,
    act,
    listed,
    parameter,
    read,
    resource,
    start_delete,
    start_write,
)
from api.schemas.shapes import (
    Json,
    Named,
    anything,
    choice,
    duration,
    flag,
    instant,
    items,
    mapping,
    or_null,
    record,
    text,
    whole,
)

TAG = "Computes"

SCALE: Json = {
    "minNodeCount": whole(),
    "maxNodeCount": whole(),
    "nodeIdleTimeBeforeScaleDown": duration(),
}
SSH: Json = {"adminUserName": text(), "adminUserSshPublicKey": text()}
NODES_NOW: Json = {
    "allocationState": text(),
    "currentNodeCount": whole(),
    "targetNodeCount": whole(),
    "nodeStateCounts": record(optional={f"{state}NodeCount": whole() for state in NODE_STATES}),
}
INSTANCE_TYPES = mapping(anything(), "Of a Kubernetes cluster: name → nodeSelector and resources.")
CLUSTER: Json = {
    "vmSize": text("An instance type."),
    "vmPriority": choice(TIERS),
    "remoteLoginPortPublicAccess": choice(SSH_ACCESS),
    "enableNodePublicIp": flag(),
    "subnet": record(optional={"id": text()}),
    "namespace": text("Of a Kubernetes cluster."),
    "defaultInstanceType": text("Of a Kubernetes cluster."),
    "instanceTypes": INSTANCE_TYPES,
}
SENT = Named(
    "ComputeWrite",
    record(
        optional={
            "location": text(),
            "tags": mapping(),
            "identity": IDENTITY,
            "properties": record(
                optional={
                    "computeType": choice(KINDS),
                    "description": text(),
                    "resourceId": text("Of a Kubernetes cluster."),
                    "properties": record(
                        optional={
                            **CLUSTER,
                            "scaleSettings": record(optional=SCALE),
                            "userAccountCredentials": record(optional=SSH),
                        }
                    ),
                }
            ),
        }
    ),
)
COMPUTE = resource(
    "Compute",
    record(
        {
            "computeType": choice(KINDS),
            "computeLocation": text(),
            "description": text(),
            "provisioningState": choice(("Succeeded",)),
            "isAttachedCompute": flag(),
            "createdOn": instant(),
            "modifiedOn": instant(),
            "properties": record(
                optional={
                    **CLUSTER,
                    "vmSize": or_null(text()),
                    "defaultInstanceType": or_null(text()),
                    "osType": text(),
                    "userAccountCredentials": record(optional=SSH),
                    **NODES_NOW,
                    "scaleSettings": record(SCALE),
                }
            ),
        },
        {"disableLocalAuth": flag(), "resourceId": or_null(text())},
    ),
    needed={"location": text(), "tags": mapping()},
    optional={"identity": IDENTITY},
)
DETACH = parameter(
    "underlyingResourceAction",
    choice(("Delete", "Detach"), "Detach is for Kubernetes clusters, which stay as they are."),
)
NODES = Named("Nodes", record({"nodes": items(anything())}))

ROUTES: Routes = {
    "arm-computes": {"GET": listed("List computes", COMPUTE, query=PAGED)},
    "arm-compute": {
        "GET": read("Get a compute", COMPUTE),
        "PUT": start_write("Create or replace a compute", SENT, COMPUTE, creates=True),
        "PATCH": start_write("Change a compute", SENT, COMPUTE),
        "DELETE": start_delete("Delete or detach a compute", query=(DETACH,)),
    },
    "arm-compute-nodes": {"POST": act("List the nodes of a compute", NODES)},
}
