"""Instances of online deployments, and the logs of their builds."""

from __future__ import annotations

from api.schemas.operations import ERROR, Answer, Operation, Routes, act, listed
from api.schemas.shapes import Named, flag, instant, items, number, record, text, whole
from deployments.models import Instance, Phase
from deployments.models import Operation as DeploymentOperation

TAG = "Instances"

EXIT = Named(
    "InstanceExit",
    record(
        {
            "time": instant(),
            "code": text("Azure's, such as OutOfMemory; empty when nothing is known."),
            "reason": text(),
            "evidence": items(text(), "At most twelve lines."),
        },
        {"exitCode": whole()},
    ),
)
INSTANCE = Named(
    "Instance",
    record(
        {
            "name": text("Unique in the installation."),
            "number": whole("Among those of its revision."),
            "revision": whole(),
            "state": text(enum=list(Instance.State.values)),
            "runtime": text("What runs it: process or docker."),
            "instanceType": text(),
            "restarts": whole("Since it was last well for a minute."),
            "isRestarting": flag("Somebody asked for it; it is stopped and started in a moment."),
            "isBeingReplaced": flag("Somebody asked for a fresh one in its place."),
            "createdAt": instant(),
        },
        {
            "compute": text("The attached compute whose engines run it."),
            "node": text("The engine of a container."),
            "image": text("The image's identity on the engine."),
            "address": text("unix:<path> or <host>:<port>; absent while it is not in the routes."),
            "reason": text("Why it is not well."),
            "startedAt": instant(),
            "readyAt": instant(),
            "lastExit": EXIT,
            "cpuPercent": number("Of its limit, in the last minute."),
            "memoryPercent": number("Of its limit, in the last minute."),
        },
    ),
)
BUILD_LOG = Named(
    "BuildLog",
    record(
        {
            "content": text("Lines."),
            "operation": text(enum=list(DeploymentOperation.Kind.values)),
            "state": text(enum=list(Phase.State.values)),
            "startTime": instant(),
            "revisions": items(whole(), "Those that have a build, the newest first."),
        },
        {"revision": whole(), "endTime": instant(), "error": ERROR.shape["properties"]["error"]},
    ),
)
ASK_BUILD_LOG = Named(
    "BuildLogRequest",
    record(
        optional={
            "revision": whole("Its newest build; the newest of all when absent.", minimum=1),
            "tail": whole("At most so many lines.", minimum=1),
        }
    ),
)


def _begun(summary: str, description: str) -> Operation:
    return Operation(
        summary,
        {202: Answer(INSTANCE, description="It is wanted; the list shows how far it is.")},
        description=description,
    )


ROUTES: Routes = {
    "arm-instances": {
        "GET": listed("List the instances of an online deployment", INSTANCE, query=())
    },
    "arm-restart-instance": {
        "POST": _begun(
            "Restart an instance",
            "It leaves the routes, ends what it has in hand, is stopped and started again.",
        )
    },
    "arm-drain-instance": {
        "POST": _begun(
            "Drain an instance",
            "A fresh one takes its place. The only one that serves stays in the routes until then.",
        )
    },
    "arm-get-build-log": {
        "POST": act("Get the log of an environment's build", BUILD_LOG, body=ASK_BUILD_LOG)
    },
}
