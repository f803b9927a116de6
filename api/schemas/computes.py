"""Computes."""

from __future__ import annotations

from api.compute_engines import RUNTIMES
from api.computes import KINDS, NODE_STATES, SSH_ACCESS, TIERS
from api.schemas.operations import (
    IDENTITY,
    PAGED,
    Answer,
    Operation,
    Routes,
    act,
    delete,
    listed,
    parameter,
    read,
    resource,
    start_delete,
    start_write,
    write,
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
    number,
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
ENGINE_WISH: Json = {
    "url": text("unix:///path, tcp://host:port or ssh://user@host; told to administrators alone."),
    "certPath": text("Folder with ca.pem, cert.pem and key.pem on the portal's machine."),
    "tlsVerify": flag(),
    "maxCores": number(
        "What instances may take there together, also more than the host has; 0 or absent for what it has."
    ),
    "maxMemoryBytes": number("The same of memory."),
    "isSchedulable": flag("Whether new instances may go there."),
}
PLACE = record(
    optional={
        "runtime": choice(
            RUNTIMES, "Empty: docker where it has engines, else the installation's."
        ),
        "engines": items(record({"name": text()}, ENGINE_WISH)),
    }
)
CLUSTER: Json = {
    "vmSize": text("An instance type."),
    "vmPriority": choice(TIERS),
    "remoteLoginPortPublicAccess": choice(SSH_ACCESS),
    "enableNodePublicIp": flag(),
    "subnet": record(optional={"id": text()}),
    "namespace": text("Of a Kubernetes cluster."),
    "defaultInstanceType": text("Of a Kubernetes cluster."),
    "instanceTypes": INSTANCE_TYPES,
    "portico": PLACE,
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

ENGINE = Named(
    "ComputeEngine",
    record(
        {
            "name": text(),
            "isSchedulable": flag(),
            "answers": flag(),
            "reason": text("Why it does not answer, told to administrators."),
        },
        {
            **{name: shape for name, shape in ENGINE_WISH.items() if name != "isSchedulable"},
            "version": text(),
            "cores": number("What instances may have there together."),
            "memoryBytes": whole(),
            "warning": text("Where that is more than the host has."),
            "takenCores": number("What instances of this installation hold."),
            "takenMemoryBytes": whole(),
            "containers": whole("Of this installation."),
        },
    ),
)
ENGINE_WRITE = Named("ComputeEngineWrite", record(optional=ENGINE_WISH))
DRAINED = Named("DrainedEngine", record({"name": text(), "instances": whole("On it now.")}))
DRAIN = "Closes it for new instances and replaces those that are on it elsewhere, one by one."

ROUTES: Routes = {
    "arm-computes": {"GET": listed("List computes", COMPUTE, query=PAGED)},
    "arm-compute": {
        "GET": read("Get a compute", COMPUTE),
        "PUT": start_write("Create or replace a compute", SENT, COMPUTE, creates=True),
        "PATCH": start_write("Change a compute", SENT, COMPUTE),
        "DELETE": start_delete("Delete or detach a compute", query=(DETACH,)),
    },
    "arm-compute-engines": {"GET": listed("List the engines of a compute", ENGINE, query=())},
    "arm-compute-engine": {
        "GET": read("Get an engine of a compute", ENGINE),
        "PUT": write("Add or replace an engine of a compute", ENGINE_WRITE, ENGINE, creates=True),
        "PATCH": write("Change an engine of a compute", ENGINE_WRITE, ENGINE),
        "DELETE": delete("Remove an engine from a compute"),
    },
    "arm-check-engine": {"POST": act("Ask an engine of a compute now", ENGINE)},
    "arm-drain-engine": {
        "POST": Operation(
            "Drain an engine of a compute",
            {202: Answer(DRAINED, description="It is wanted.")},
            description=DRAIN,
        )
    },
    "arm-compute-nodes": {"POST": act("List the nodes of a compute", NODES)},
}
