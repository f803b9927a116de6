"""Client code says what it is given, whatever is in the body; that it runs is shown in test_consume_real.py."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.studio.samples_code import LANGUAGES, sample_code


@dataclass
class Callee:
    scoring_uri: str = "https://localhost:9443/churn/score"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def code(language: str, body: str = '{"data": [[1, 2]]}', **others: str) -> str:
    facts = {"key": "the-key", "ca_path": "/certificates/ca.pem", **others}
    return sample_code(Callee(), language, body=body, **facts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_names_the_address_the_key_and_the_authority(language: str) -> None:
    text = code(language, deployment="green")
    assert "https://localhost:9443/churn/score" in text
    assert "Bearer the-key" in text
    assert "azureml-model-deployment" in text
    assert "/certificates/ca.pem" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_an_authority_the_system_is_trusted(language: str) -> None:
    text = code(language, ca_path="")
    assert "ca.pem" not in text
    assert "cacert" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_deployment_is_named_only_when_it_is_chosen(language: str) -> None:
    assert "azureml-model-deployment" not in code(language)


@given(JSON_VALUES)
def test_python_sends_the_very_value(value: object) -> None:
    tree = ast.parse(code("python", json.dumps(value)))
    bodies = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "body"
    ]
    scope: dict[str, object] = {"json": json}
    sent = eval(compile(ast.Expression(bodies[0]), "sample", "eval"), scope)
    assert json.loads(sent) == value


@given(st.text(st.characters(exclude_characters="\x00", codec="utf-8")))
def test_the_shell_sends_the_very_text(body: str) -> None:
    """The words that the shell hands to the command, without running the command."""
    script = code("curl", body).replace("curl ", "printf '%s\\0' ", 1)
    printed = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True).stdout
    words = printed.decode().split("\0")
    assert words[words.index("--data-raw") + 1] == body


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize(
    "body", ['{"a": "\\u2028 `${x}` \\" \'"}', "plain `text` ${1}", "[1, null, true]"]
)
def test_javascript_sends_the_very_text(body: str, tmp_path: Path) -> None:
    script = code("javascript", body).replace(
        "for (const seconds", "console.log(body); for (const s", 1
    )
    script = script[: script.index("for (const s")]
    path = tmp_path / "body.mjs"
    path.write_text(script)
    printed = subprocess.run(["node", path], capture_output=True, check=True, text=True).stdout
    try:
        assert json.loads(printed) == json.loads(body)
    except json.JSONDecodeError:
        assert printed.removesuffix("\n") == body


def test_a_body_that_is_no_json_is_sent_as_it_is() -> None:
    assert 'body = "a,b\\n1,2".encode()' in code("python", "a,b\n1,2").replace("'", '"')


def test_long_bodies_are_broken_into_lines_and_short_lists_are_not() -> None:
    text = code("python", json.dumps({"data": [[1.5] * 10, [2.5] * 10]}))
    assert "[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]," in text
