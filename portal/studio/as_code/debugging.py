"""Debug sessions. Azure has none on a workspace, so there are our own commands and REST. Pure."""

from __future__ import annotations

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import command, request, rest, script, segment


def start_debug(place: Place, endpoint: str, deployment: str, minutes: int) -> Forms:
    """The same for a session that is there: it gets this time from then on."""
    start = command(
        "online-deployment start-debug",
        place,
        name=deployment,
        endpoint_name=endpoint,
        minutes=str(minutes),
    )
    body = {"minutes": minutes}
    return Forms(
        yaml={},
        cli=script(start),
        rest=rest(place, request("PUT", _path(endpoint, deployment), body)),
    )


def stop_debug(place: Place, endpoint: str, deployment: str) -> Forms:
    stop = command("online-deployment stop-debug", place, name=deployment, endpoint_name=endpoint)
    return Forms(
        yaml={},
        cli=script(stop),
        rest=rest(place, request("DELETE", _path(endpoint, deployment))),
    )


def attach(place: Place, endpoint: str, deployment: str) -> str:
    """The command that brings the debugger's port to the reader's machine."""
    return script(
        command("online-deployment attach-debug", place, name=deployment, endpoint_name=endpoint)
    )


def _path(endpoint: str, deployment: str) -> str:
    return f"onlineEndpoints/{segment(endpoint)}/deployments/{segment(deployment)}/debugSession"
