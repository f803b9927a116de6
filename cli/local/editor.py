"""Visual Studio Code for a local deployment: an entry in `.vscode/launch.json` that attaches to it.

One in a container gets a dev container (`.devcontainer`), too: the editor then works with the deployment's packages.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cli.faults import ClientFault
from cli.local import dev_container, records
from cli.local.containers import APP_ROOT
from cli.local.programs import Tell
from cli.local.records import DeploymentRecord

NAME = "AzureML: Debug Local Endpoint"
PROGRAM = "code"
# What VS Code allows and JSON does not; strings are matched so that what is in them stays.
STRING = r'("(?:\\.|[^"\\])*")'
COMMENT = re.compile(STRING + r"|//[^\n]*|/\*.*?\*/", re.DOTALL)
LAST_COMMA = re.compile(STRING + r"|,(?=\s*[}\]])", re.DOTALL)
DECODER = json.JSONDecoder()


def prepare(record: DeploymentRecord, *, tell: Tell) -> None:
    """Write the entry into the launch.json of the folder the user works in, and open that where VS Code is there."""
    code = code_dir(record)
    folder = workspace_of(code)
    path = folder / ".vscode" / "launch.json"
    entry = entry_of(record, code, folder)
    tell(f"A debugger can attach at 127.0.0.1:{record.debug_port}")
    try:
        path.parent.mkdir(exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(with_entry(before, entry), encoding="utf-8")
    except (OSError, ValueError) as error:
        tell(
            f"Warning: {path} cannot be changed ({error}). Add this to its configurations yourself:"
        )
        tell(json.dumps(entry, indent=4))
        return
    tell(f"'{NAME}' is in {path}")
    if record.image:
        dev_container.write(record, folder, tell=tell)
    program = shutil.which(PROGRAM)
    if program is None:
        tell(f"Open {folder} in Visual Studio Code, choose Run and Debug, and start '{NAME}'.")
        return
    opened = subprocess.run(
        [program, str(folder), str(code / script_of(record))], check=False, capture_output=True
    )
    if opened.returncode == 0:
        tell(f"Visual Studio Code opens: choose Run and Debug, and start '{NAME}'.")
    else:
        tell(f"Warning: {program} did not open {folder}: open it yourself.")


def entry_of(record: DeploymentRecord, code: Path, folder: Path) -> dict[str, Any]:
    """What attaches to the deployment; paths are relative to `folder`, so that they hold in a dev container, too."""
    inside = f"{APP_ROOT}/{code.name}" if record.runtime == records.DOCKER else str(code)
    return {
        "name": NAME,
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": "127.0.0.1", "port": record.debug_port},
        "pathMappings": [{"localRoot": below(folder, code), "remoteRoot": inside}],
        "justMyCode": True,
    }


def below(folder: Path, path: Path) -> str:
    """A path in the folder that is open, as VS Code writes it."""
    relative = path.relative_to(folder).as_posix()
    return "${workspaceFolder}" if relative == "." else f"${{workspaceFolder}}/{relative}"


def code_dir(record: DeploymentRecord) -> Path:
    """The user's own folder; `ClientFault` for a deployment without a script."""
    code = record.yaml.get("code_configuration") or {}
    if not code.get("code"):
        raise ClientFault("The deployment has no scoring script to debug.")
    return Path(code["code"])


def script_of(record: DeploymentRecord) -> str:
    return str(record.yaml["code_configuration"]["scoring_script"])


def workspace_of(code: Path) -> Path:
    """The folder that the user has open: where they are, if the code lies below; else the code's own."""
    here = Path.cwd().resolve()
    return here if code.is_relative_to(here) and here != Path(here.anchor) else code


def with_entry(text: str, entry: dict[str, Any]) -> str:
    """A launch.json with this entry in place of one of its name, everything else as it was, comments included.

    `ValueError` for a text that is none.
    """
    if not text.strip():
        return json.dumps({"version": "0.2.0", "configurations": [entry]}, indent=4) + "\n"
    clean = LAST_COMMA.sub(_blank, COMMENT.sub(_blank, text))
    members = _members(clean, _skip(clean, 0))
    own = json.dumps(entry, indent=4).replace("\n", "\n        ")
    if "configurations" not in members:
        start = clean.index("{") + 1
        rest = "," if members else ""
        return f'{text[:start]}\n    "configurations": [\n        {own}\n    ]{rest}{text[start:]}'
    start = members["configurations"][0]
    items = _items(clean, start)
    for begin, end, value in items:
        if isinstance(value, dict) and value.get("name") == entry["name"]:
            return text[:begin] + own + text[end:]
    rest = "," if items else "\n    "
    return f"{text[: start + 1]}\n        {own}{rest}{text[start + 1 :]}"


def _blank(found: re.Match[str]) -> str:
    """Spaces in place of all but strings, so that everything else stays where it is."""
    return found[1] or re.sub(r"[^\n]", " ", found[0])


def _members(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Where the values of the object at `start` lie, by key."""
    if text[start : start + 1] != "{":
        raise ValueError("it holds no JSON object")
    DECODER.raw_decode(text, start)
    found, place = {}, _skip(text, start + 1)
    while text[place] != "}":
        key, place = DECODER.raw_decode(text, place)
        place = _skip(text, _skip(text, place) + 1)
        _, end = DECODER.raw_decode(text, place)
        found[str(key)] = (place, end)
        place = _after_comma(text, end)
    return found


def _items(text: str, start: int) -> list[tuple[int, int, Any]]:
    """Begin, end and value of each element of the array at `start`."""
    if text[start] != "[":
        raise ValueError("its configurations are no list")
    found, place = [], _skip(text, start + 1)
    while text[place] != "]":
        value, end = DECODER.raw_decode(text, place)
        found.append((place, end, value))
        place = _after_comma(text, end)
    return found


def _after_comma(text: str, place: int) -> int:
    place = _skip(text, place)
    return _skip(text, place + 1) if text[place] == "," else place


def _skip(text: str, place: int) -> int:
    """The first place from there on that is no white space."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place
