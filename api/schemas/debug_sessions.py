"""Debug sessions of online deployments."""

from __future__ import annotations

from api.schemas.operations import Answer, Operation, Routes, read
from api.schemas.shapes import Named, instant, record, text, whole
from deployments.models import DebugSession

TAG = "Debug sessions"

SESSION = Named(
    "DebugSession",
    record(
        {
            "state": text(enum=list(DebugSession.State.values)),
            "revision": whole("The one that is debugged."),
            "deploymentHeader": text(
                "What requests name in azureml-model-deployment to reach it."
            ),
            "createdAt": instant(),
            "expiresAt": instant("Then it is removed."),
        },
        {
            "createdBy": text(),
            "error": record({"code": text(), "message": text()}),
            "tunnel": text("The command that brings the debugger's port to your machine."),
            "launch": {"type": "object", "description": "An entry for launch.json of VS Code."},
        },
    ),
)
START = Named(
    "DebugSessionRequest",
    record(optional={"minutes": whole("From 1 to 480; 60 when absent.", minimum=1)}),
)

ROUTES: Routes = {
    "arm-debug-session": {
        "GET": read("Get the debug session of an online deployment", SESSION),
        "PUT": Operation(
            "Start a debug session, or give it more time",
            {202: Answer(SESSION, description="Ask for it until it runs.")},
            body=START,
            description="One more instance of what serves, with no traffic, to which a debugger can attach.",
        ),
        "DELETE": Operation("Stop the debug session", {204: Answer()}),
    },
}
