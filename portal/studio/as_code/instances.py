"""Restarting and draining one instance. Azure has no instances, so there are our own command and REST. Pure."""

from __future__ import annotations

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import command, request, rest, script, segment


def act_on_instance(
    place: Place, endpoint: str, deployment: str, instance: str, what: str
) -> Forms:
    """`what` is `restart` or `drain`."""
    path = (
        f"onlineEndpoints/{segment(endpoint)}/deployments/{segment(deployment)}"
        f"/instances/{segment(instance)}/{what}"
    )
    flags = {"name": deployment, "endpoint_name": endpoint, "instance": instance}
    return Forms(
        yaml={},
        cli=script(command(f"online-deployment {what}-instance --yes", place, **flags)),
        rest=rest(place, request("POST", path)),
    )
