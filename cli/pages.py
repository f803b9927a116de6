"""Where the studio shows what a command was about: `--web`."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

# Noun → its page below the workspace's; `{}` are the names, the endpoint's first.
LISTS = {
    "online-endpoint": "endpoints",
    "online-deployment": "endpoints",
    "batch-endpoint": "batch-endpoints",
    "batch-deployment": "batch-endpoints",
}
DESKTOPS = ("DISPLAY", "WAYLAND_DISPLAY")


def address(noun: str, studio: str, workspace: str, facts: Mapping[str, Any]) -> str:
    """Of the thing that `facts` name, else of the list it is in; `studio` is the portal's address."""
    parts = [studio, "w", quote(workspace, safe=""), LISTS[noun]]
    endpoint = facts.get("endpoint_name") if noun.endswith("-deployment") else facts.get("name")
    if endpoint:
        parts.append(quote(str(endpoint), safe=""))
        # Deployments of batch endpoints are shown on the endpoint's page.
        if noun == "online-deployment" and facts.get("name"):
            parts += ["deployments", quote(str(facts["name"]), safe="")]
    return "/".join(parts)


def show(url: str) -> None:
    """On standard error, so that what reads the answer is not disturbed; a browser opens where somebody sees it."""
    print(f"Studio: {url}", file=sys.stderr)
    has_desktop = sys.platform in {"darwin", "win32"} or any(map(os.environ.get, DESKTOPS))
    if sys.stderr.isatty() and has_desktop:
        webbrowser.open(url)
