"""A dev container of Visual Studio Code in the image of a local deployment: `.devcontainer/devcontainer.json`.

The editor runs in a container of its own, with the interpreter and packages of the deployment, and attaches from there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.local.programs import Tell
from cli.local.records import DeploymentRecord

FOLDER, FILE = ".devcontainer", "devcontainer.json"
NAME = "Portico: "
"""What the names of those that we wrote begin with."""
EXTENSIONS = ["ms-python.python", "ms-python.debugpy"]


def write(record: DeploymentRecord, folder: Path, *, tell: Tell) -> None:
    """Write it into the folder that the user has open; one of their own stays, ours then lies beside it."""
    path = folder / FOLDER / FILE
    if path.exists() and not _is_ours(path):
        path = folder / FOLDER / "portico" / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts_of(record), indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        tell(f"Warning: {path} cannot be written ({error}).")
        return
    tell(f"A dev container with the deployment's packages is in {path}: 'Reopen in Container'.")


def facts_of(record: DeploymentRecord) -> dict[str, Any]:
    """What VS Code is told. The user's variables stay out: the file may be committed."""
    return {
        "name": f"{NAME}{record.endpoint_name}/{record.name}",
        "image": record.image,
        # The debugger's port is open on this machine alone.
        "runArgs": ["--network=host"],
        # Images have no user but root, and none is to be built for the sake of one.
        "remoteUser": "root",
        "updateRemoteUserUID": False,
        "customizations": {
            "vscode": {
                "extensions": EXTENSIONS,
                "settings": {"python.defaultInterpreterPath": record.python},
            }
        },
    }


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # such as one with comments, which we do not write
    return isinstance(found, dict) and str(found.get("name", "")).startswith(NAME)
