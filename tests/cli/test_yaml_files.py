"""Old keys, references and `--set`, before the SDK reads them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from cli import yaml_files
from cli.faults import UsageFault

OLD_DEPLOYMENT = """
name: blue
code_configuration:
  code: {path: ../code}
  scoring_script: score.py
environment:
  docker: {image: "registry/base:1"}
  path: conda.yml
"""


class Loader:
    """Stands where the SDK's load functions do, and keeps what it was given."""

    def __call__(
        self,
        source: Any,
        *,
        params_override: list[dict[str, Any]],
        relative_origin: str | None = None,
    ) -> Any:
        self.text = source.read() if hasattr(source, "read") else source
        self.origin = relative_origin
        return params_override


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"code_configuration": {"code": {"path": "../code"}, "scoring_script": "score.py"}},
            {"code_configuration": {"code": "../code", "scoring_script": "score.py"}},
        ),
        ({"environment": {"docker": {"image": "a:1"}}}, {"environment": {"image": "a:1"}}),
        (
            {"environment": {"docker": {"image": "a:1"}, "path": "conda.yml"}},
            {"environment": {"image": "a:1", "conda_file": "conda.yml"}},
        ),
        (
            {"environment": {"image": "a:1", "path": "context"}},
            {"environment": {"image": "a:1", "build": {"path": "context"}}},
        ),
        ({"environment": {"image": "a:1", "path": "."}}, {"environment": {"image": "a:1"}}),
        (
            {"name": "env", "docker": {"build": {"dockerfile": "file:Dockerfile"}}, "path": "x"},
            {"name": "env", "build": {"path": "x", "dockerfile_path": "Dockerfile"}},
        ),
        (
            {"auth_mode": "key", "target": "azureml:k8s"},
            {"auth_mode": "key", "compute": "azureml:k8s"},
        ),
    ],
)
def test_old_keys_become_new_ones_with_a_warning(
    old: dict[str, Any],
    new: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "conda.yml").touch()
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").touch()
    assert yaml_files.renew(old, tmp_path) == new
    assert "is an old key" in caplog.text


@pytest.mark.parametrize(
    "today",
    [
        {"environment": "azureml:env:1", "code_configuration": {"code": "../code"}},
        {"environment": {"image": "a:1", "conda_file": "conda.yml"}},
        {"name": "job", "compute": "azureml:cpu"},
        {"path": "model", "type": "custom_model"},
    ],
)
def test_what_is_right_stays_and_is_not_warned_of(
    today: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert yaml_files.renew(today, tmp_path) == today
    assert caplog.text == ""


def test_a_renewed_file_keeps_its_place(tmp_path: Path, loader: Loader) -> None:
    (tmp_path / "conda.yml").touch()
    file = tmp_path / "blue.yml"
    file.write_text(OLD_DEPLOYMENT)
    yaml_files.load_entity(loader, str(file), {})
    assert loader.origin == str(file)
    assert "code: ../code" in loader.text
    assert "conda_file: conda.yml" in loader.text


def test_flags_go_before_the_file_and_sets_before_flags(tmp_path: Path, loader: Loader) -> None:
    file = tmp_path / "endpoint.yml"
    file.write_text("name: a\n")
    flags = {"name": "b", "description": None}
    assert yaml_files.load_entity(loader, str(file), flags, ["tags.x=1"]) == [
        {"name": "b"},
        {"tags.x": "1"},
    ]
    assert loader.text == str(file)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("instance_count=2", "instance_count", "2"),
        ("description=a=b", "description", "a=b"),
        ('tags={"a": "b"}', "tags", {"a": "b"}),
        ("tags={broken", "tags", "{broken"),
        ("tags.a=", "tags.a", ""),
    ],
)
def test_set_takes_texts_and_json(text: str, key: str, value: Any) -> None:
    assert yaml_files.pair(text) == (key, value)


@pytest.mark.parametrize("text", ["instance_count", "=2"])
def test_set_without_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="key=value"):
        yaml_files.pair(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("my-env", "azureml:my-env@latest"),
        ("my-env:3", "azureml:my-env:3"),
        ("my-env@latest", "azureml:my-env@latest"),
        ("azureml:my-env:3", "azureml:my-env:3"),
        ("azureml://registries/azureml/environments/x/versions/1", None),
    ],
)
def test_short_names_become_references(text: str | None, found: str | None) -> None:
    assert yaml_files.reference(text) == (found or text)


class State(Enum):
    DONE = "Succeeded"


class Entity:
    """As one of the SDK's, whose dict tells constants by their Python names."""

    def __init__(self) -> None:
        self.state = State.DONE

    def _to_dict(self) -> dict[str, Any]:
        maker = {"created_by_type": "CreatedByType.MANAGED_IDENTITY"}
        return {"state": str(self.state), "creation_context": maker}


def test_constants_are_told_by_their_words() -> None:
    assert yaml_files.dump(Entity()) == {
        "state": "Succeeded",
        "creation_context": {"created_by_type": "ManagedIdentity"},
    }


def test_a_file_that_is_missing_or_broken_says_so(tmp_path: Path, loader: Loader) -> None:
    with pytest.raises(UsageFault, match=r"none\.yml cannot be read: No such file"):
        yaml_files.load_entity(loader, str(tmp_path / "none.yml"), {})
    (tmp_path / "broken.yml").write_text("a: [")
    with pytest.raises(UsageFault, match="not valid YAML"):
        yaml_files.load_entity(loader, str(tmp_path / "broken.yml"), {})
