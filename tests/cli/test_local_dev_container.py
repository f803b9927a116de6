"""The dev container of a local deployment: what VS Code reads, and whose file is whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.local import dev_container
from cli.local.records import DOCKER, DeploymentRecord

RECORD = DeploymentRecord(
    "churn",
    "blue",
    {"environment_variables": {"SECRET": "hunter2"}},
    runtime=DOCKER,
    debug_port=5678,
    image="sha256:" + "0" * 64,
    python="/opt/portico-env/bin/python",
)
# Of https://containers.dev/implementors/json_reference: those that a container of an image may have, and their types.
SCHEMA = {
    "name": str,
    "image": str,
    "runArgs": list,
    "remoteUser": str,
    "updateRemoteUserUID": bool,
    "customizations": dict,
}


def written(folder: Path, place: str = "") -> dict[str, Any]:
    said: list[str] = []
    dev_container.write(RECORD, folder, tell=said.append)
    path = folder / ".devcontainer" / place / "devcontainer.json"
    assert str(path) in said[0]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_it_says_what_vs_code_understands_and_nothing_secret(tmp_path: Path) -> None:
    facts = written(tmp_path)
    assert {key: type(value) for key, value in facts.items()} == SCHEMA
    assert facts["image"] == RECORD.image
    editor = facts["customizations"]["vscode"]
    assert editor["settings"]["python.defaultInterpreterPath"] == RECORD.python
    assert "ms-python.debugpy" in editor["extensions"]
    assert "hunter2" not in json.dumps(facts)


def test_ours_is_replaced_and_one_of_the_user_stays(tmp_path: Path) -> None:
    written(tmp_path)
    assert written(tmp_path)["name"] == "Portico: churn/blue"
    own = tmp_path / ".devcontainer" / "devcontainer.json"
    for text in ('{"name": "mine"}', '// mine\n{"image": "x"}'):
        own.write_text(text)
        written(tmp_path, "portico")
        assert own.read_text() == text


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / ".devcontainer").write_text("a file")
    said: list[str] = []
    dev_container.write(RECORD, tmp_path, tell=said.append)
    assert said[0].startswith("Warning:")
