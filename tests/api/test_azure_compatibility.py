"""`docs/azure-compatibility.md` is held true: by the SDK's public methods, the commands, and the served addresses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.tables import commands

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "azure-compatibility.md").read_text()
STATES = {"works", "differs", "refused", "absent"}
SERVED = re.compile(r"^\| (`[A-Z`, ]+`) \| `([^`]+)` \|", re.M)
OWN = re.compile(
    r"api/|\{ws\}/(servicePrincipals|images)|.*/computes/\{compute\}/engines|"
    r".*/deployments/\{deployment\}/(instances|debugSession|getBuildLog)|.*/versions/\{version\}/(builds|check)"
)
OWN_COMMANDS = set(re.findall(r"^\| `(ml [\w -]+)` \| [^|]+ \|$", PAGE, re.M))
# Properties of MLClient that are no operations.
PLAIN = {"subscription_id", "resource_group_name", "workspace_name"}


@dataclass(frozen=True)
class Row:
    sdk: str
    commands: list[str]
    addresses: list[str]
    state: str


def rows() -> list[Row]:
    """Those of the tables of operations."""
    found = re.findall(r"^\| `ml\.([\w.*]+)` \|(.*)\|(.*)\| (\w+) \|.*\|$", PAGE, re.M)
    return [
        Row(sdk, re.findall(r"`([^`]+)`", words), re.findall(r"`([^`]+)`", rest), state)
        for sdk, words, rest, state in found
    ]


def addresses() -> set[str]:
    """`METHOD path` of all that the page says is there."""
    operations = {address for row in rows() if row.state != "absent" for address in row.addresses}
    single = {
        f"{method} {path}"
        for method, path in re.findall(r"^\| `([A-Z]+)` \| `([^`]+)` \| \w+ \|", PAGE, re.M)
    }
    return operations | single


def served() -> set[str]:
    """What `docs/api.md` lists, which another test compares with the routes themselves, but for what is our own."""
    listed = SERVED.findall((DOCS / "api.md").read_text())
    return {
        f"{method} {path}"
        for methods, path in listed
        for method in re.findall("[A-Z]+", methods)
        if not OWN.match(path)
    }


def methods_of_the_sdk() -> Iterator[str]:
    ml = pytest.importorskip("azure.ai.ml")
    properties = inspect.getmembers(ml.MLClient, lambda item: isinstance(item, property))
    for name, item in properties:
        if name in PLAIN:
            continue
        kind = inspect.signature(item.fget, eval_str=True).return_annotation
        for method, _ in inspect.getmembers(kind, inspect.isfunction):
            if not method.startswith("_"):
                yield f"{name}.{method}"


@pytest.mark.thorough
def test_every_operation_of_the_sdk_has_a_row_and_every_row_is_one() -> None:
    known = set(methods_of_the_sdk())
    told = {row.sdk for row in rows()}
    groups = {name.removesuffix(".*") for name in told if name.endswith(".*")}
    missing = {name for name in known - told if name.split(".")[0] not in groups}
    assert missing == set(), "in the SDK, but not in docs/azure-compatibility.md"
    gone = {name for name in told - known if not name.endswith(".*")}
    assert gone == set(), "in docs/azure-compatibility.md, but not in the SDK"
    assert groups <= {name.split(".")[0] for name in known}


def test_no_operation_has_two_rows_or_an_unknown_state() -> None:
    found = rows()
    assert len(found) == len({row.sdk for row in found})
    assert {row.state for row in found} <= STATES
    assert all(row.addresses == [] for row in found if row.state == "absent")


def test_every_command_has_a_row_and_every_row_is_one() -> None:
    known = {command.name for command in commands() if command.name.startswith("ml ")}
    told = {command for row in rows() for command in row.commands} | OWN_COMMANDS
    assert known - told == set(), "a command, but not in docs/azure-compatibility.md"
    assert told - known == set(), "in docs/azure-compatibility.md, but no command"


def test_every_address_of_the_api_has_a_row_and_every_row_is_one() -> None:
    assert served() - addresses() == set(), "in docs/api.md, but not in azure-compatibility.md"
    assert addresses() - served() == set(), "in azure-compatibility.md, but not in docs/api.md"
