"""Batch endpoints and deployments, and the places of jobs."""

from __future__ import annotations

from api.batch_deployments import CONFIGURATIONS, LEVELS, OUTPUT_ACTIONS
from api.batch_endpoints import AUTH_MODES
from api.schemas.operations import (
    IDENTITY,
    Answer,
    Operation,
    Routes,
    listed,
    read,
    resource,
    start_delete,
    start_write,
)
from api.schemas.shapes import (
    Json,
    Named,
    Shape,
    anything,
    choice,
    duration,
    mapping,
    or_null,
    record,
    text,
    whole,
)

TAG = "Batch"

ENDPOINT_SENT = Named(
    "BatchEndpointWrite",
    record(
        optional={
            "location": text(),
            "tags": mapping(),
            "identity": IDENTITY,
            "properties": record(
                optional={
                    "description": text(),
                    "authMode": choice(AUTH_MODES),
                    "defaults": record(optional={"deploymentName": text()}),
                    "properties": mapping(),
                }
            ),
        }
    ),
)
ENDPOINT = resource(
    "BatchEndpoint",
    record(
        {
            "description": text(),
            "authMode": choice(("AADToken",)),
            "defaults": record({"deploymentName": or_null(text())}),
            "properties": mapping(),
            "scoringUri": text(),
            "provisioningState": choice(("Succeeded",)),
        }
    ),
    needed={"location": text(), "tags": mapping()},
    optional={"identity": IDENTITY},
)
REFERENCE = record(optional={"referenceType": choice(("Id",)), "assetId": text()})
SETTINGS: Json = {
    "compute": text("The name or the id of a compute."),
    "resources": record(optional={"instanceCount": whole(), "properties": mapping(anything())}),
    "model": REFERENCE,
    "environmentId": text(),
    "codeConfiguration": record(optional={"codeId": text(), "scoringScript": text()}),
    "environmentVariables": mapping(description="Shown as ******** to readers."),
    "maxConcurrencyPerInstance": whole(),
    "miniBatchSize": whole(),
    "errorThreshold": whole(),
    "loggingLevel": choice(LEVELS),
    "outputAction": choice(OUTPUT_ACTIONS),
    "outputFileName": text(),
    "retrySettings": record(optional={"maxRetries": whole(), "timeout": duration()}),
    "deploymentConfiguration": record(
        optional={
            "deploymentConfigurationType": choice(CONFIGURATIONS),
            "componentId": REFERENCE,
            "settings": mapping(),
        },
        description="Of a pipeline component.",
    ),
}
DEPLOYMENT_SENT = Named(
    "BatchDeploymentWrite",
    record(
        optional={
            "tags": mapping(),
            "properties": record(
                optional={"description": text(), "properties": mapping(), **SETTINGS}
            ),
        }
    ),
)
DEPLOYMENT = resource(
    "BatchDeployment",
    record(
        {
            "description": text(),
            "properties": mapping(),
            "provisioningState": choice(("Succeeded",)),
        },
        SETTINGS,
    ),
    needed={"location": text(), "tags": mapping()},
)
JOB = Named("Job", record(description="None yet: this version runs no jobs."))
JOBS = Named(
    "Jobs", record({"value": {"type": "array", "items": JOB}, "nextLink": {"const": None}})
)
RUN_DATA = Named("RunDataRequest", record(optional={"runId": text()}))
ADDRESSES = Named("Discovery", record({"api": text(), "history": text()}))


def absent(summary: str, *, body: Shape | None = None) -> Operation:
    """One that refuses everything, in words."""
    return Operation(summary, {}, body=body, description="This version runs no jobs, and says so.")


ROUTES: Routes = {
    "arm-batch-endpoints": {"GET": listed("List batch endpoints", ENDPOINT)},
    "arm-batch-endpoint": {
        "GET": read("Get a batch endpoint", ENDPOINT),
        "PUT": start_write(
            "Create or replace a batch endpoint", ENDPOINT_SENT, ENDPOINT, creates=True
        ),
        "PATCH": start_write("Change a batch endpoint", ENDPOINT_SENT, ENDPOINT),
        "DELETE": start_delete("Delete a batch endpoint and its deployments"),
    },
    "arm-batch-list-keys": {
        "POST": Operation(
            "List the keys of a batch endpoint",
            {},
            description="There are none: callers send a token of their own.",
        )
    },
    "arm-batch-deployments": {
        "GET": listed("List the deployments of a batch endpoint", DEPLOYMENT)
    },
    "arm-batch-deployment": {
        "GET": read("Get a batch deployment", DEPLOYMENT),
        "PUT": start_write(
            "Create or replace a batch deployment", DEPLOYMENT_SENT, DEPLOYMENT, creates=True
        ),
        "PATCH": start_write("Change a batch deployment", DEPLOYMENT_SENT, DEPLOYMENT),
        "DELETE": start_delete("Delete a batch deployment"),
    },
    "batch-endpoint-jobs": {"GET": read("List the jobs of a batch endpoint", JOBS)},
    "batch-deployment-jobs": {"GET": read("List the jobs of a batch deployment", JOBS)},
    "batch-jobs": {
        "GET": read("List the jobs of a batch endpoint, at its scoringUri", JOBS),
        "POST": absent("Start a job of a batch endpoint", body=mapping(anything())),
    },
    "batch-job": {"GET": absent("Get a job of a batch endpoint")},
    "arm-jobs": {"GET": read("List jobs", JOBS)},
    "arm-job": {
        "GET": absent("Get a job"),
        "PUT": absent("Start a job", body=mapping(anything())),
    },
    "arm-cancel-job": {"POST": absent("Cancel a job")},
    "run": {"GET": absent("Get a run")},
    "run-details": {"GET": absent("Get the details of a run")},
    "run-children": {"GET": absent("List the children of a run")},
    "run-data": {"POST": absent("Get the data of a run", body=RUN_DATA)},
    "discovery": {
        "GET": Operation(
            "Find the address of the run history",
            {200: Answer(ADDRESSES)},
            description="For the part of the SDK that asks.",
            is_public=True,
        )
    },
}
