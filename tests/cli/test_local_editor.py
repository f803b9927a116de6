"""The entry in launch.json: added or replaced, with everything else left as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.local import editor
from cli.local.editor import entry_of, with_entry, workspace_of
from cli.local.records import DOCKER, DeploymentRecord

ENTRY = {"name": editor.NAME, "type": "debugpy", "connect": {"port": 5678}}
COMMENTED = """// mine
{
    "version": "0.2.0", /* as of "now" */
    "configurations": [
        // a URL is no comment: http://x
        {"name": "Mine", "url": "http://x", "args": ["//", "/*"],},
    ],
}
"""


def entries(text: str) -> list[Any]:
    """Those of a launch.json whose comments all stand on lines of their own."""
    found: list[Any] = json.loads(text)["configurations"]
    return found


def test_a_first_one_is_a_whole_file() -> None:
    for nothing in ("", " \n"):
        assert entries(with_entry(nothing, ENTRY)) == [ENTRY]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"version": "0.2.0"}',
        '{"version": "0.2.0", "configurations": []}',
        '{"configurations": [ ], "compounds": []}',
    ],
)
def test_it_is_added_where_there_is_none(text: str) -> None:
    changed = with_entry(text, ENTRY)
    assert entries(changed) == [ENTRY]
    rest = {key: value for key, value in json.loads(text).items() if key != "configurations"}
    assert rest.items() <= json.loads(changed).items()


def test_others_stay_and_one_of_its_name_is_replaced() -> None:
    mine = {"name": "Mine", "type": "node", "deep": [{"name": editor.NAME}]}
    before = json.dumps({"configurations": [mine, {**ENTRY, "old": 1}], "inputs": [1]}, indent=2)
    changed = with_entry(before, ENTRY)
    assert json.loads(changed) == {"configurations": [mine, ENTRY], "inputs": [1]}
    assert with_entry(changed, ENTRY) == changed


def test_comments_and_last_commas_stay() -> None:
    changed = with_entry(COMMENTED, ENTRY)
    for line in COMMENTED.splitlines():
        assert line in changed
    assert changed.index(editor.NAME) < changed.index("Mine")
    # It is found again among them.
    moved = with_entry(changed, {**ENTRY, "connect": {"port": 9}})
    assert moved == changed.replace("5678", "9")


@pytest.mark.parametrize("text", ["[]", "{", "nothing", '{"configurations": {}}'])
def test_what_is_no_launch_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        with_entry(text, ENTRY)


def test_paths_inside_a_container_are_those_of_the_code_folder_there(tmp_path: Path) -> None:
    record = DeploymentRecord("e", "blue", {}, debug_port=5680)
    code = tmp_path / "src"
    assert entry_of(record, code, code)["pathMappings"] == [
        {"localRoot": "${workspaceFolder}", "remoteRoot": str(code)}
    ]
    contained = DeploymentRecord("e", "blue", {}, runtime=DOCKER, debug_port=5680)
    inside = entry_of(contained, code, tmp_path)
    assert inside["pathMappings"] == [
        {"localRoot": "${workspaceFolder}/src", "remoteRoot": "/var/azureml-app/src"}
    ]
    assert inside["connect"] == {"host": "127.0.0.1", "port": 5680}


def test_the_folder_that_opens_is_where_the_user_is_unless_the_code_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "project" / "src"
    code.mkdir(parents=True)
    monkeypatch.chdir(code.parent)
    assert workspace_of(code) == code.parent
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert workspace_of(code) == code


def test_a_file_that_cannot_be_read_is_left_alone_and_the_entry_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "src"
    (code / ".vscode").mkdir(parents=True)
    (code / ".vscode" / "launch.json").write_text("broken")
    monkeypatch.chdir(code)
    yaml = {"code_configuration": {"code": str(code), "scoring_script": "score.py"}}
    said: list[str] = []
    editor.prepare(DeploymentRecord("e", "blue", yaml, debug_port=5678), tell=said.append)
    assert (code / ".vscode" / "launch.json").read_text() == "broken"
    assert editor.NAME in said[-1] and "5678" in said[-1]
