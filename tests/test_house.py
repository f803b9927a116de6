"""The rules of the house that a tool can check; a rule that no tool checks is a wish."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from api.schemas.addresses import addresses, methods_of
from api.schemas.document import OPERATIONS
from portal import env

ROOT = Path(__file__).resolve().parent.parent
OURS = (
    "portal",
    "api",
    "monitoring",
    "deployments",
    "endpoints",
    "workspaces",
    "inference_server",
    "cli",
)
LONGEST = 500


def files(*patterns: str) -> list[Path]:
    """Our own files: tracked by git or about to be, vendored and generated ones left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        ROOT / name
        for name in sorted(set(listed))
        if "/vendor/" not in name and (ROOT / name).exists()
    ]


def test_no_file_of_ours_has_more_than_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in files("*.py", "*.html", "*.css", "*.js")
        if "/migrations/" not in str(path)
        and (count := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0, stdout=StringIO())


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    documented = set(
        re.findall(r"^\| `([A-Z][A-Z0-9_]+)`", (ROOT / "docs/settings.md").read_text(), re.M)
    )
    read = {name for name in env.names_read if not name.endswith("_FILE")}
    assert read - documented == set(), "read but not in docs/settings.md"
    assert documented - read == set(), "in docs/settings.md but read by nobody"


def test_only_settings_and_their_readers_look_at_the_environment() -> None:
    allowed = {"portal/env.py", "portal/asgi.py", "portal/celery.py", "manage.py", "install.py"}
    guests = (
        "inference_server/",
        "cli/",
        "tests/",
        "benchmarks/",
        "deployments/runtimes/",
        "deployments/sample/",
    )
    lookers = []
    for path in files("*.py"):
        name = str(path.relative_to(ROOT))
        if name in allowed or name.startswith(guests):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                lookers.append(f"{name}:{node.lineno}")
    # What a child process is given is copied from ours in these places.
    copies = {
        "portal/launch.py",
        "portal/programs.py",
        "portal/processes.py",
        "portal/supervisor.py",
    }
    copies |= {
        "deployments/environments/interpreters.py",
        "deployments/environments/uv_command.py",
    }
    assert [place for place in lookers if place.split(":")[0] not in copies] == []


def test_every_public_module_class_and_function_that_needs_it_says_what_it_does() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files(*(f"{package}/*.py" for package in OURS))
        if "/migrations/" not in str(path)
        and "/management/commands/" not in str(path)
        and path.name not in {"__init__.py", "apps.py"}
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_template_has_inline_script_style_or_handlers() -> None:
    wrong = re.compile(
        r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")|<style|\sstyle=|\son[a-z]+=\"|javascript:",
        re.I,
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("templates/*.html")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wrong.search(re.sub(r"{#.*?#}", "", line))
    ]
    assert found == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    wrong = re.compile(r"(?:src|href)=\"(?:https?:)?//", re.I)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("templates/*.html", "static/css/*.css")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wrong.search(line)
    ]
    assert found == []


def test_every_address_has_a_name() -> None:
    nameless = [
        str(pattern.pattern)
        for pattern in _patterns(get_resolver().url_patterns)
        if not pattern.name
    ]
    assert [text for text in nameless if "admin" not in text and text] == []


def test_every_route_of_the_api_is_in_its_openapi_document() -> None:
    """Say what a new route takes and answers in the module of its family in `api/schemas/`."""
    offered = {
        (name, method) for name, _, view in addresses() for method in methods_of(name, view)
    }
    assert offered - set(OPERATIONS) == set(), "without an entry in api/schemas/"
    assert set(OPERATIONS) - offered == set(), "with an entry, but there is no such route"


def _patterns(entries: list[URLPattern | URLResolver]) -> list[URLPattern]:
    found = []
    for entry in entries:
        if isinstance(entry, URLResolver):
            if entry.namespace != "admin":
                found += _patterns(entry.url_patterns)
        else:
            found.append(entry)
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["lint-imports"],
        ["djlint", "--lint", "--check", "--quiet", "templates"],
    ],
    ids=lambda command: command[0],
)
def test_the_tools_agree(command: list[str]) -> None:
    run_tool(command)


@pytest.mark.real
def test_the_types_agree() -> None:
    run_tool(["mypy", *OURS])


def run_tool(command: list[str]) -> None:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
