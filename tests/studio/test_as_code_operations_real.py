"""“View as code” of debugging, restarting, draining and building, which Azure does not have: run as pasted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house import House
from tests.studio.test_as_code_real import DEPLOYMENT, Studio, signed_in, studio_in

pytestmark = [pytest.mark.real, pytest.mark.sdk]

NAME = "code-operations"
PAGE = f"/w/main/endpoints/{NAME}/deployments/blue"
PATH = f"onlineEndpoints/{NAME}/deployments/blue"
LANGUAGES = ("cli", "rest")


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[httpx.Client]:
    with signed_in(house) as client:
        yield client


@pytest.fixture
def studio(house: House, client: httpx.Client, tmp_path: Path) -> Studio:
    return studio_in(house, client, tmp_path)


def instance(studio: Studio) -> dict[str, Any]:
    """The one that serves; empty while there are two, or none."""
    found = [one for one in studio.ask(f"{PATH}/instances")["value"] if one["state"] == "Healthy"]
    return found[0] if len(found) == 1 else {}


def is_debugged(studio: Studio) -> bool:
    session = studio.ask(f"{PATH}/debugSession")
    return bool(session and session["state"] == "Running")


def has_another(studio: Studio, fact: str, before: dict[str, Any]) -> bool:
    """Whether what serves has another value of `fact` than it had before."""
    return bool(instance(studio).get(fact, before[fact]) != before[fact])


def test_instances_are_debugged_restarted_and_drained(studio: Studio) -> None:
    fields = {"endpoint_name": NAME, "auth_mode": "key", **DEPLOYMENT, "name": "blue"}
    studio.run("cli", studio.code("/w/main/endpoints/create", **fields))
    for language in LANGUAGES:
        page = f"{PAGE}/debug"
        studio.run(language, studio.code(page, hours="2"))
        studio.until(partial(is_debugged, studio), "debugged")
        studio.run(language, studio.code(page, "stop-code"))
        studio.until_gone(f"{PATH}/debugSession")

        before = instance(studio)
        at = f"{PAGE}/instances/{before['number']}"
        studio.run(language, studio.code(f"{at}/restart"))
        studio.until(partial(has_another, studio, "startedAt", before), "restarted")
        assert instance(studio)["number"] == before["number"]
        studio.run(language, studio.code(f"{at}/drain"))
        studio.until(partial(has_another, studio, "number", before), "drained")
    studio.remove(NAME)


def have_ended_well(studio: Studio, builds: str) -> bool:
    return {one["state"] for one in studio.ask(builds)["value"]} == {"Succeeded"}


def test_an_environment_is_built(studio: Studio) -> None:
    fields = {"name": "code-built", "kind": "conda", "conda_file": "dependencies: [python]"}
    studio.run("cli", studio.code("/w/main/environments/register", **fields))
    builds = "environments/code-built/versions/1/builds"
    for count, language in enumerate(LANGUAGES, 1):
        studio.run(language, studio.code("/w/main/environments/code-built", "build-code"))
        studio.until(partial(have_ended_well, studio, builds), "built")
        assert len(studio.ask(builds)["value"]) == count
