"""Building and checking registered environments."""

from __future__ import annotations

from api.schemas.operations import ERROR, Answer, Operation, Routes, act, listed, read
from api.schemas.shapes import Named, flag, instant, items, record, text, whole
from deployments.models import EnvironmentBuild

TAG = "Environment builds"

BUILD = Named(
    "EnvironmentBuild",
    record(
        {
            "id": whole(),
            "state": text(enum=list(EnvironmentBuild.State.values)),
            "runtime": text("For which it is built: docker makes an image, process a folder."),
            "wasCached": flag("It had been built before."),
            "isCanceling": flag(),
            "warnings": items(text()),
            "createdAt": instant(),
        },
        {
            "createdBy": text(),
            "image": text("The image's identity on the engine."),
            "key": text("The hash of its content."),
            "python": text("The version inside."),
            "sizeBytes": whole(),
            "startTime": instant(),
            "endTime": instant(),
            "error": ERROR.shape["properties"]["error"],
        },
    ),
)
CHECK = Named(
    "EnvironmentCheck",
    record(
        {"isBuilt": flag("As a folder of this machine."), "warnings": items(text())},
        {
            "python": text(),
            "requirements": items(text(), "Absent where an image brings its packages."),
            "lock": text("Every version that was found, where resolve was true."),
        },
    ),
)
ASK_CHECK = Named("EnvironmentCheckRequest", record(optional={"resolve": flag()}))
LOG = Named("EnvironmentBuildLog", record({"content": text("Lines.")}))
ASK_LOG = Named("EnvironmentBuildLogRequest", record(optional={"tail": whole(minimum=1)}))


def _begun(summary: str) -> Operation:
    return Operation(summary, {202: Answer(BUILD, description="Ask for it until it has ended.")})


ROUTES: Routes = {
    "arm-environment-builds": {
        "GET": listed("List the builds of an environment, newest first", BUILD),
        "POST": _begun("Build an environment"),
    },
    "arm-environment-build": {"GET": read("Get a build of an environment", BUILD)},
    "arm-cancel-environment-build": {"POST": _begun("Cancel a build of an environment")},
    "arm-environment-build-log": {
        "POST": act("Get the log of a build, also while it runs", LOG, body=ASK_LOG)
    },
    "arm-check-environment": {
        "POST": act("Check an environment without building it", CHECK, body=ASK_CHECK)
    },
}
