"""Online deployments."""

from __future__ import annotations

from api.data_collector import MODES, RATES
from api.online_deployments import CONTAINERS, SCALE_TYPES, TYPES
from api.online_endpoints import NETWORK_ACCESS
from api.schemas.operations import (
    Routes,
    act,
    listed,
    read,
    resource,
    start_delete,
    start_write,
)
from api.schemas.shapes import (
    Json,
    Named,
    choice,
    duration,
    flag,
    items,
    mapping,
    number,
    record,
    text,
    whole,
)

TAG = "Online deployments"

PROBE = Named(
    "ProbeSettings",
    record(
        optional={
            "initialDelay": duration(),
            "period": duration(),
            "timeout": duration(),
            "successThreshold": whole(),
            "failureThreshold": whole(),
        }
    ),
)
COLLECTOR = Named(
    "DataCollector",
    record(
        optional={
            "collections": mapping(
                record(
                    optional={
                        "dataCollectionMode": choice(MODES),
                        "samplingRate": number(minimum=0, maximum=1),
                        "dataId": text(),
                    }
                )
            ),
            "rollingRate": choice(RATES),
            "requestLogging": record(optional={"captureHeaders": items(text())}),
        }
    ),
)
REVISION: Json = {
    "model": text(
        "The id of a model version, azureml:<name>:<version>, or azureml:<name>@latest."
    ),
    "environmentId": text("The same of an environment, or of a curated one."),
    "codeConfiguration": record(optional={"codeId": text(), "scoringScript": text()}),
    "modelMountPath": text(),
    "instanceType": text(),
    "environmentVariables": mapping(description="Shown as ******** to readers."),
    "scaleSettings": record(optional={"scaleType": choice(SCALE_TYPES)}),
    "requestSettings": record(
        optional={
            "requestTimeout": duration(),
            "maxConcurrentRequestsPerInstance": whole(),
            "maxQueueWait": duration(),
        }
    ),
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
    "appInsightsEnabled": flag(),
    "egressPublicNetworkAccess": choice(NETWORK_ACCESS),
    "privateNetworkConnection": flag(),
    "dataCollector": COLLECTOR,
}
SENT = Named(
    "OnlineDeploymentWrite",
    record(
        optional={
            "tags": mapping(),
            "sku": record(
                optional={"name": text(), "capacity": whole("The number of instances.")}
            ),
            "properties": record(
                optional={
                    "endpointComputeType": choice(TYPES),
                    "description": text(),
                    "properties": mapping(),
                    **REVISION,
                }
            ),
        }
    ),
)
DEPLOYMENT = resource(
    "OnlineDeployment",
    record(
        {
            "endpointComputeType": choice(TYPES),
            "provisioningState": text(),
            "description": text(),
            "properties": mapping(),
            "scaleSettings": record(optional={"scaleType": choice(SCALE_TYPES)}),
        },
        REVISION,
    ),
    needed={
        "location": text(),
        "kind": choice(TYPES),
        "tags": mapping(),
        "sku": record({"name": text(), "capacity": whole()}),
    },
)
LOGS = Named("DeploymentLogs", record({"content": text("Lines.")}))
ASK_LOGS = Named(
    "DeploymentLogsRequest",
    record(optional={"containerType": choice(CONTAINERS), "tail": whole(minimum=1)}),
)
SKU = Named(
    "SkuCapacity",
    record(
        {
            "resourceType": text(),
            "sku": record({"name": text()}),
            "capacity": record(
                {
                    "minimum": whole(),
                    "maximum": whole(),
                    "default": whole(),
                    "scaleType": text(),
                }
            ),
        }
    ),
)

ROUTES: Routes = {
    "arm-deployments": {"GET": listed("List the deployments of an online endpoint", DEPLOYMENT)},
    "arm-deployment": {
        "GET": read("Get an online deployment", DEPLOYMENT),
        "PUT": start_write(
            "Create or replace an online deployment", SENT, DEPLOYMENT, creates=True
        ),
        "PATCH": start_write("Change an online deployment, scale it", SENT, DEPLOYMENT),
        "DELETE": start_delete("Delete an online deployment"),
    },
    "arm-get-logs": {"POST": act("Get the end of the log", LOGS, body=ASK_LOGS)},
    "arm-skus": {
        "GET": listed("List between which numbers of instances one can choose", SKU, query=())
    },
}
