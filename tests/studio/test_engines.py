"""Docker engines and the images on them, as the page Compute, the overview and a deployment's page show them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from deployments import image_surveys, tidying
from deployments.engines import runtime_name
from deployments.images.records import Record, Records
from deployments.models import OnlineDeployment
from deployments.runtimes.docker import survey
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.survey import EngineSurvey
from tests.api.conftest import speak_as
from tests.factories import (
    Cast,
    make_compute,
    make_engines,
    make_online_endpoint,
    make_revision,
    make_user,
    make_workspace,
)
from tests.studio.conftest import browser_of
from workspaces.models import User, Workspace

HTMX = {"HX-Request": "true"}
USED, OTHERS, UNUSED = (f"sha256:{letter * 64}" for letter in "abc")
GIB = 1024**3


@dataclass
class Store:
    """What `deployments.images` does, on a list instead of an engine."""

    records: Records
    found: dict[str, int] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def sizes(self) -> dict[str, int]:
        return self.found

    def prune(self, keep: set[str], *, grace_seconds: float) -> tuple[str, ...]:
        assert grace_seconds == 600
        self.kept = keep
        return tuple(
            key
            for key in self.found
            if (record := self.records.find(key)) and record.reference not in keep
        )


@pytest.fixture
def answers() -> dict[str, str]:
    """Engine → why it is away; empty when it answers."""
    return {"docker": ""}


@pytest.fixture
def asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]
) -> list[str]:
    """Names of the engines that were asked, in an installation that runs containers."""
    settings.DEPLOYMENT_RUNTIME = "docker"
    settings.DOCKER_ENGINES = {"docker": "unix:///run/docker.sock"}
    names: list[str] = []

    def ask(address: EngineAddress, installation: str) -> EngineSurvey:
        names.append(address.name)
        if answers[address.name]:
            return EngineSurvey(address.name, address.url, away=answers[address.name])
        return EngineSurvey(
            address.name, address.url, "", "20.10.24", 8, 16 * GIB, 2.5, 3 * GIB, 4
        )

    monkeypatch.setattr(survey, "survey", ask)
    return names


@pytest.fixture
def store(
    asked: list[str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    settings.IMAGES_ROOT = tmp_path / "images"
    made = Store(Records(settings.IMAGES_ROOT))
    for key, reference, size_bytes in (
        ("k1", USED, 300 * 1024**2),
        ("k2", OTHERS, 200 * 1024**2),
        ("k3", UNUSED, 100 * 1024**2),
    ):
        record = Record(reference, "/usr/bin/python3", "3.11.2", (), size_bytes)
        made.records.write(key, record)
        made.found[key] = size_bytes
    monkeypatch.setattr(image_surveys, "images", lambda: made)
    monkeypatch.setattr(
        tidying, "all_image_stores", lambda: [made] if runtime_name() == "docker" else []
    )
    return made


@pytest.fixture
def admin(db: None) -> Client:
    return browser_of(make_user("root", is_superuser=True, is_staff=True))


def deployed(workspace: Workspace, image: str, endpoint_name: str = "churn") -> OnlineDeployment:
    endpoint = make_online_endpoint(workspace, endpoint_name, deployments={"blue": 100})
    deployment = endpoint.deployments.get()
    deployment.revision = make_revision(deployment, runtime="docker", image=image)
    deployment.save()
    return deployment


@pytest.fixture
def url(cast: Cast) -> Callable[[str], str]:
    return lambda rest: f"/w/{cast.workspace.name}/{rest}"


def text_of(client: Client, url: str) -> str:
    reply = client.get(url, headers=HTMX)
    assert reply.status_code == 200
    return " ".join(reply.content.decode().split())


def test_an_engine_is_shown_with_what_our_instances_hold_of_it(
    bob: Client, store: Store, asked: list[str], settings: Settings, url: Callable[[str], str]
) -> None:
    text = text_of(bob, url("compute/engines"))
    for word in ("unix:///run/docker.sock", "answers", "20.10.24", "2.5 of 8", "3 GiB of 16 GiB"):
        assert word in text
    why = "A single engine takes every instance"
    assert why not in text, "a pool counts"
    settings.DOCKER_ENGINES = {}
    assert why in text_of(bob, url("compute/engines"))
    assert asked == ["docker"]


def test_the_page_compute_does_not_wait_for_the_engine(
    bob: Client, asked: list[str], url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.studio.compute.runtime", object)
    page = bob.get(url("compute")).content.decode()
    assert f'hx-get="{url("compute/engines")}"' in page
    assert asked == []


def test_a_silent_engine_is_told_with_its_reason_and_its_images_are_not_asked_for(
    bob: Client, answers: dict[str, str], store: Store, url: Callable[[str], str]
) -> None:
    answers["docker"] = "Connection refused"
    text = text_of(bob, url("compute/engines"))
    assert "does not answer" in text
    assert "Connection refused" in text
    assert "Images" not in text


def test_the_overview_warns_of_silent_engines_alone(
    bob: Client, answers: dict[str, str], asked: list[str], url: Callable[[str], str]
) -> None:
    page = bob.get(url("")).content.decode()
    assert f'hx-get="{url("compute/engines/away")}"' in page
    assert asked == []
    assert text_of(bob, url("compute/engines/away")) == ""
    cache.delete("engines")
    answers["docker"] = "Connection refused"
    assert "The Docker engine docker does not answer." in text_of(bob, url("compute/engines/away"))


def test_the_overview_warns_of_engines_of_computes_too(
    bob: Client,
    admin: Client,
    cast: Cast,
    answers: dict[str, str],
    asked: list[str],
    settings: Settings,
    url: Callable[[str], str],
) -> None:
    settings.DEPLOYMENT_RUNTIME = "process"
    make_engines(make_compute(cast.workspace, "edge", kind="kubernetes"), "far")
    answers["far"] = "Connection refused at 10.0.0.7"
    assert f'hx-get="{url("compute/engines/away")}"' in bob.get(url("")).content.decode()
    said = text_of(bob, url("compute/engines/away"))
    assert "The Docker engine edge / far does not answer." in said
    assert "10.0.0.7" not in said
    assert "10.0.0.7" in text_of(admin, url("compute/engines/away"))


def test_without_containers_no_engine_is_asked(
    bob: Client, asked: list[str], settings: Settings, url: Callable[[str], str]
) -> None:
    settings.DEPLOYMENT_RUNTIME = "process"
    assert "no Docker engine" in text_of(bob, url("compute/engines"))
    assert text_of(bob, url("compute/engines/away")) == ""
    assert "compute/engines" not in bob.get(url("")).content.decode()
    assert asked == []


def test_members_see_the_images_of_their_workspace_and_administrators_all(
    cast: Cast, bob: Client, admin: Client, store: Store, url: Callable[[str], str]
) -> None:
    deployed(cast.workspace, USED)
    deployed(make_workspace("elsewhere"), OTHERS, "other")
    theirs = text_of(bob, url("compute/engines"))
    assert "churn / blue" in theirs
    assert "3 built for all workspaces, 600 MiB in all, 1 not in use" in theirs
    assert USED[7:19] in theirs
    assert OTHERS[7:19] not in theirs
    assert "Remove unused images" not in theirs
    everything = text_of(admin, url("compute/engines"))
    assert {USED[7:19], OTHERS[7:19], UNUSED[7:19]} <= set(
        everything.replace("<", " ").replace(">", " ").split()
    )
    assert "another workspace" in everything
    assert url("compute/images/remove-unused") in everything


def test_administrators_remove_unused_images_and_owners_do_not(
    cast: Cast, alice: Client, admin: Client, store: Store, url: Callable[[str], str]
) -> None:
    deployed(cast.workspace, USED)
    deployed(make_workspace("elsewhere"), OTHERS, "other")
    refused = alice.post(url("compute/images/remove-unused"))
    assert refused.status_code == 403
    assert "Ask an administrator of this installation" in refused.content.decode()
    assert not store.kept
    reply = admin.post(url("compute/images/remove-unused"))
    assert (reply.status_code, reply.headers["Location"]) == (303, url("compute"))
    assert store.kept == {USED, OTHERS}


def test_the_api_lists_a_workspaces_images_and_lets_administrators_remove_unused_ones(
    cast: Cast, bob: Client, admin: Client, store: Store
) -> None:
    deployed(cast.workspace, USED)
    told = speak_as(cast.bob, cast.workspace).get("images").json["value"]
    assert [(image["key"], image["sizeBytes"], image["isUsed"]) for image in told] == [
        ("k1", 300 * 1024**2, True)
    ]
    assert told[0]["madeFor"] == ["churn / blue", "sklearn:1"]
    assert speak_as(cast.alice, cast.workspace).post("images/removeUnused").status == 403
    root = speak_as(User.objects.get(username="root"), cast.workspace)
    assert len(root.get("images").json["value"]) == 3
    removed = root.post("images/removeUnused").json
    assert [image["key"] for image in removed["removed"]] == ["k2", "k3"]
    assert removed["removedBytes"] == 300 * 1024**2


def test_images_are_not_removed_from_an_engine_that_is_away(
    admin: Client, answers: dict[str, str], store: Store, url: Callable[[str], str]
) -> None:
    text_of(admin, url("compute/engines"))
    answers["docker"] = "Connection refused"
    reply = admin.post(url("compute/images/remove-unused"))
    assert reply.status_code == 503
    assert "Start it, then remove the images." in reply.content.decode()
    assert not store.kept


def test_the_command_removes_them_too_and_says_so_without_containers(
    admin: Client, cast: Cast, store: Store, settings: Settings
) -> None:
    deployed(cast.workspace, USED)
    said = StringIO()
    call_command("remove_unused_images", stdout=said)
    assert said.getvalue().split() == ["k2", "210", "MB", "k3", "105", "MB", "2", "removed."]
    settings.DEPLOYMENT_RUNTIME = "process"
    with pytest.raises(CommandError, match="runs no containers"):
        call_command("remove_unused_images", stdout=said)


def test_a_deployment_tells_python_and_size_of_its_image_without_the_engine(
    cast: Cast, bob: Client, store: Store, asked: list[str], url: Callable[[str], str]
) -> None:
    deployed(cast.workspace, USED)
    page = bob.get(url("endpoints/churn/deployments/blue"))
    text = " ".join(page.content.decode().split())
    assert USED[7:19] in text
    assert "Python 3.11.2" in text
    assert "300 MiB" in text
    assert asked == []


def test_an_engine_that_is_not_there_is_away_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        found = survey.survey(EngineAddress("gone", f"tcp://127.0.0.1:{port}"), "test")
    assert "refused" in found.away
    assert found.version == ""
