"""Building a registered environment. Azure builds by itself, so there are our own command and REST. Pure."""

from __future__ import annotations

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import command, request, rest, script, segment


def build_environment(place: Place, name: str, version: str) -> Forms:
    path = f"environments/{segment(name)}/versions/{segment(version)}/builds"
    return Forms(
        yaml={},
        cli=script(command("environment build", place, name=name, version=version)),
        rest=rest(place, request("POST", path)),
    )
