"""The client's command line up to the call of a handler: flags, defaults, output, exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from cli import client
from cli.edits import Addition, Removal
from cli.faults import ClientFault, MissingFault
from cli.tables import commands, groups
from tests.cli.conftest import sign_in
from tests.house import ROOT

VERBS = "create update show list delete invoke get-credentials regenerate-keys"
NOUNS = "batch-endpoint batch-deployment model environment data datastore component compute job workspace"
ARM = "/subscriptions/s/resourceGroups/portico/providers/P/workspaces/main"


class Handlers:
    """In place of the functions that the table names: keeps the arguments, answers what the test wants."""

    def __init__(self) -> None:
        self.place = ""
        self.values: dict[str, Any] = {}
        self.scope: dict[str, str] = {}
        self.answer: Any = None

    def load(self, place: str) -> Callable[..., Any]:
        if place == "cli.session#open_session":
            return self.open_session
        if place == "cli.session#require_workspace":
            return lambda session: None
        if place == "cli.sdk_faults#tell":
            # Asked only if an earlier test has loaded the SDK; these errors are none of its own.
            return lambda error, logger: None

        def handle(*session: Any, **values: Any) -> Any:
            self.place, self.values = place, values
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return handle

    @contextmanager
    def open_session(self, **scope: str) -> Iterator[object]:
        self.scope = scope
        yield SimpleNamespace(
            ml=SimpleNamespace(workspace_name="main"),
            profile=SimpleNamespace(url="https://localhost:8443"),
        )


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    found = Handlers()
    monkeypatch.setattr(client, "load", found.load)
    sign_in()
    return found


def ml(*words: str) -> int:
    return client.run("ml", list(words))


def test_traffic_tags_and_sets_are_read_as_az_does(handlers: Handlers) -> None:
    words = ["--traffic", "blue=90 green=10", "--tags", "a=b=c", "d=e"]
    sets = ["--set", "x.y=1", "z=2", "--set", "w=3"]
    assert ml("online-endpoint", "update", "-n", "my-endpoint", *words, *sets) == 0
    assert handlers.place == "cli.ml.online_endpoints#update"
    assert handlers.values["traffic"] == {"blue": 90, "green": 10}
    assert handlers.values["tags"] == {"a": "b=c", "d": "e"}
    assert handlers.values["sets"] == ["x.y=1", "z=2", "w=3"]
    assert handlers.values["mirror_traffic"] is None


def test_add_and_remove_stand_with_set_in_their_order(handlers: Handlers) -> None:
    words = ["--remove", "tags.old", "--set", "a=1", "--add", "tags", "b=c", "--remove", "x", "0"]
    for noun in ("online-endpoint", "batch-endpoint", "model", "compute"):
        assert ml(noun, "update", "-n", "my-thing", *words) == 0
        assert handlers.values["sets"] == [
            Removal("tags.old", ()),
            "a=1",
            Addition("tags", ("b=c",)),
            Removal("x", ("0",)),
        ]


@pytest.mark.parametrize(
    ("words", "answer", "page"),
    [
        (["online-endpoint", "show", "-n", "churn"], None, "endpoints/churn"),
        (["online-endpoint", "create", "-f", "e.yml"], {"name": "mine"}, "endpoints/mine"),
        (["online-endpoint", "create", "-f", "e.yml", "--no-wait"], None, "endpoints"),
        (
            ["online-deployment", "show", "-n", "blue", "-e", "churn"],
            None,
            "endpoints/churn/deployments/blue",
        ),
        (["batch-endpoint", "update", "-n", "b"], None, "batch-endpoints/b"),
        (["batch-deployment", "show", "-n", "d", "-e", "b"], None, "batch-endpoints/b"),
    ],
)
def test_web_tells_the_page_of_the_studio(
    handlers: Handlers,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    answer: Any,
    page: str,
) -> None:
    handlers.answer = answer
    assert ml(*words, "--web") == 0
    assert capsys.readouterr().err == f"Studio: https://localhost:8443/w/main/{page}\n"
    assert "web" not in handlers.values


def test_what_has_no_meaning_here_is_refused_with_a_sentence(
    handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    assert ml("model", "show", "-n", "m", "-v", "1", "--registry-name", "azureml") == 2
    assert "there are no registries here" in caplog.text
    assert ml("online-endpoint", "show", "-n", "x", "--local", "--web") == 2
    assert "knows nothing of --local" in caplog.text
    assert handlers.place == ""


def test_the_workspace_is_named_as_in_az(handlers: Handlers) -> None:
    assert ml("online-endpoint", "list", "-g", "group", "-w", "place", "--subscription", "s") == 0
    assert handlers.scope == {
        "resource_group": "group",
        "workspace": "place",
        "subscription": "s",
        "profile": "",
    }


@pytest.mark.parametrize(
    "words",
    [
        ["online-endpoint", "show"],
        ["online-endpoint", "update", "-n", "x", "--traffic", "blue"],
        ["online-endpoint", "update", "-n", "x", "--traffic", "blue=ten"],
        ["online-endpoint", "regenerate-keys", "-n", "x", "--key-type", "third"],
        ["online-endpoint", "lisst"],
        ["online-endpoint", "show", "-n", "x", "--nonsense"],
        ["online-deployment", "create", "-f", "x.yml", "--vscode-debug"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(handlers: Handlers, words: list[str]) -> None:
    assert ml(*words) == 2
    assert handlers.place == ""


@pytest.mark.parametrize(
    ("fault", "code"), [(ClientFault("no"), 1), (MissingFault("gone"), 3), (KeyError("bug"), 1)]
)
def test_exit_codes_tell_faults_apart(handlers: Handlers, fault: Exception, code: int) -> None:
    handlers.answer = fault
    assert ml("online-endpoint", "show", "-n", "x") == code


def test_who_is_not_signed_in_is_told_before_anything_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert ml("online-endpoint", "list") == 2
    assert "You are not signed in" in caplog.text


def test_deleting_asks_unless_yes_is_given(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert ml("online-endpoint", "delete", "-n", "x") == 1
    assert "Add --yes" in caplog.text
    assert handlers.place == ""
    assert ml("online-endpoint", "delete", "-n", "x", "-y") == 0
    assert handlers.values == {"name": "x", "no_wait": False}


def test_local_commands_need_no_portal(handlers: Handlers) -> None:
    assert ml("online-deployment", "show", "-n", "blue", "-e", "x", "--local") == 0
    assert handlers.place == "cli.local.deployments#show"
    assert handlers.scope == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--query", "name", "-o", "tsv"], "blue\n"),
        (["--query", "name"], '"blue"\n'),
        (["-o", "yaml", "--query", "{name: name}"], "name: blue\n"),
        (["-o", "none"], ""),
    ],
    ids=str,
)
def test_output_is_shaped_as_by_az(
    handlers: Handlers, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    handlers.answer = {"name": "blue"}
    assert ml("online-deployment", "show", "-n", "blue", "-e", "x", *words) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("place", [[], ["--local"]], ids=str)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], 'first\nlast "x"\n'),
        (["--only-show-errors"], 'first\nlast "x"\n'),
        (["-o", "json"], '"first\\nlast \\"x\\""\n'),
        (["--output=json"], '"first\\nlast \\"x\\""\n'),
    ],
    ids=str,
)
def test_logs_are_printed_as_they_are_unless_a_format_is_named(
    handlers: Handlers,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
    place: list[str],
) -> None:
    handlers.answer = 'first\nlast "x"'
    assert ml("online-deployment", "get-logs", "-n", "blue", "-e", "x", *words, *place) == 0
    assert capsys.readouterr().out == said


def test_a_configured_format_counts_for_logs_too(
    handlers: Handlers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_CORE_OUTPUT", "json")
    handlers.answer = "first\nlast"
    assert ml("online-deployment", "get-logs", "-n", "blue", "-e", "x") == 0
    assert capsys.readouterr().out == '"first\\nlast"\n'


def test_the_answer_of_a_deployment_stays_a_json_string(
    handlers: Handlers, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers.answer = '{"a": 1}'
    assert ml("online-endpoint", "invoke", "-n", "x", "-r", "r.json") == 0
    assert json.loads(capsys.readouterr().out) == '{"a": 1}'


def test_what_has_an_id_tells_its_resource_group(
    handlers: Handlers, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers.answer = [{"name": "a", "id": f"{ARM}/onlineEndpoints/a"}, {"name": "b"}]
    assert ml("online-endpoint", "list") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row.get("resourceGroup") for row in told] == ["portico", None]


def test_tables_have_the_columns_that_matter(
    handlers: Handlers, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers.answer = [
        {
            "name": "blue",
            "endpoint_name": "x",
            "provisioning_state": "Succeeded",
            "instance_count": 1,
            "model": f"azureml:{ARM}/models/churn/versions/3",
        }
    ]
    assert ml("online-deployment", "list", "-e", "x", "-o", "table") == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["Name", "Endpoint", "State", "InstanceType", "Instances", "Model"]
    assert row.split() == ["blue", "x", "Succeeded", "1", "churn:3"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a.b", "deep"),
        ("nothing|name", "blue"),
        ("nothing", ""),
        ("traffic", "blue=90 green=10"),
        ("compute", "cpu"),
        ("count", 0),
    ],
)
def test_cells_are_what_fits_a_terminal(path: str, shown: object) -> None:
    row = {
        "name": "blue",
        "a": {"b": "deep"},
        "traffic": {"blue": 90, "green": 10},
        "compute": f"azureml:{ARM}/computes/cpu",
        "count": 0,
    }
    assert client.cell(row, path) == shown


def test_groups_and_commands_of_az_are_there() -> None:
    names = {command.name for command in commands()}
    assert names >= {f"ml online-endpoint {verb}" for verb in VERBS.split()}
    assert set(groups()) >= {f"ml {noun}" for noun in NOUNS.split()}
    assert len(names) == len(list(commands()))


def test_the_documentation_names_every_command() -> None:
    lines = (ROOT / "docs" / "cli.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    for command in commands():
        group, _, verb = command.name.rpartition(" ")
        wanted = (f"`{group}`", f"`{verb}`") if group.startswith("ml ") else (f"`{command.name}`",)
        assert any(all(word in row for word in wanted) for row in rows), command.name


def test_help_does_not_wait_for_the_sdk() -> None:
    script = (
        "import sys; from cli.__main__ import run; code = run(sys.argv[1:]); "
        "sys.exit(code or 'azure.ai.ml' in sys.modules or 'django' in sys.modules)"
    )
    words = ["ml", "online-deployment", "create", "--help"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--all-traffic" in done.stdout
    assert "portico ml online-deployment create -f blue-deployment.yml" in done.stdout
