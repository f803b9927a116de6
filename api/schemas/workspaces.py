"""Workspaces, subscriptions, regions and operations."""

from __future__ import annotations

from api.schemas.operations import Routes, act, listed, read, resource
from api.schemas.shapes import (
    Named,
    anything,
    choice,
    flag,
    instant,
    items,
    mapping,
    number,
    record,
    text,
    whole,
)

TAG = "Workspaces"

SUBSCRIPTION = Named(
    "Subscription",
    record(
        {"id": text(), "subscriptionId": text(), "displayName": text(), "state": text()},
    ),
)
WORKSPACE = resource(
    "Workspace",
    record(
        {
            "friendlyName": text(),
            "description": text(),
            "workspaceId": text(format="uuid"),
            "discoveryUrl": text("Where the SDK asks for the run history."),
            "provisioningState": choice(("Succeeded",)),
            "publicNetworkAccess": choice(("Enabled",)),
        }
    ),
    needed={"location": text(), "kind": text(), "tags": mapping()},
)
VM_SIZE = Named(
    "VmSize",
    record(
        {
            "name": text(),
            "family": text(),
            "vCPUs": whole(),
            "gpus": whole(),
            "memoryGB": number(),
            "lowPriorityCapable": flag(),
            "supportedComputeTypes": items(text()),
        },
        {"osVhdSizeMB": whole(), "maxResourceVolumeMB": whole(), "premiumIO": flag()},
    ),
)
LIMIT = {
    "id": text(),
    "amlWorkspaceLocation": text(),
    "type": text(),
    "unit": choice(("Count",)),
    "limit": whole(),
    "name": record({"value": text(), "localizedValue": text()}),
}
QUOTA = Named("Quota", record(LIMIT))
QUOTA_WISH = record(
    {"id": text("As the list of quotas tells it."), "limit": whole("-1 takes the default.")},
    {"type": text(), "unit": text()},
)
QUOTA_WISHES = Named("QuotaUpdate", record({"value": items(QUOTA_WISH)}, {"location": text()}))
QUOTA_SET = Named(
    "QuotaUpdated",
    record(
        {
            "value": items(
                record(
                    {
                        "id": text(),
                        "type": text(),
                        "limit": whole(),
                        "unit": choice(("Count",)),
                        "status": choice(("Success",)),
                    }
                )
            )
        }
    ),
)
USAGE = Named("Usage", record({**LIMIT, "currentValue": whole()}))
PHASE = Named(
    "Phase",
    record(
        {"name": text(), "state": text(), "startTime": instant()},
        {
            "endTime": instant(),
            "expectedSeconds": number("From experience, if there is any."),
        },
    ),
)
OPERATION = Named(
    "Operation",
    record(
        {
            "id": text(),
            "name": text(),
            "status": choice(("InProgress", "Succeeded", "Failed", "Canceled")),
        },
        {
            "startTime": instant(),
            "endTime": instant(),
            "properties": record(optional={"phases": items(PHASE)}),
            "error": anything("With Failed or Canceled, what stands in the envelope of an error."),
        },
    ),
)

ROUTES: Routes = {
    "arm-subscriptions": {
        "GET": listed(
            "List the subscriptions that hold a workspace of yours", SUBSCRIPTION, query=()
        )
    },
    "arm-workspaces-of-subscription": {"GET": listed("List your workspaces", WORKSPACE)},
    "arm-workspaces": {"GET": listed("List your workspaces in a resource group", WORKSPACE)},
    "arm-workspace": {"GET": read("Get a workspace", WORKSPACE)},
    "arm-operation": {"GET": read("Get how a long-running operation stands", OPERATION)},
    "arm-vm-sizes": {"GET": listed("List the instance types", VM_SIZE, query=())},
    "arm-usages": {"GET": listed("List what your workspaces use of their quotas", USAGE)},
    "arm-update-quotas": {"POST": act("Set quotas", QUOTA_SET, body=QUOTA_WISHES)},
    "arm-quotas": {"GET": listed("List the limits of your workspaces", QUOTA)},
}
