"""The deployment form with an image or a Dockerfile named in it, its own server, and the startup probe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from django.test import Client
from pytest_django import Settings

from deployments.changes import spec_of
from deployments.models import OnlineDeployment
from tests.factories import Cast
from tests.studio.test_code_part import ask, url_of
from tests.studio.test_create import file, own_store, send
from workspaces import storage
from workspaces.models import EnvironmentVersion

__all__ = ["own_store"]  # a fixture

CONDA = "dependencies: [python=3.11, numpy]"
SERVER = {
    "code_source": "none",
    "server_port": "8501",
    "scoring_path": "/v1/models/half_plus_two:predict",
    "readiness_path": "/v1/models/half_plus_two",
    "liveness_path": "/v1/models/half_plus_two",
}


@pytest.fixture
def containers(settings: Settings) -> None:
    settings.DEPLOYMENT_RUNTIME = "docker"


def made() -> EnvironmentVersion:
    wanted = spec_of(OnlineDeployment.objects.get()).environment
    assert wanted is not None and wanted.environment.is_anonymous
    return wanted


def test_an_image_with_packages_on_top_is_named_in_the_form(
    alice: Client, cast: Cast, containers: None
) -> None:
    wish = {"environment_source": "image", "image": "team/base:1", "image_conda_file": CONDA}
    answer = send(alice, cast, **wish)
    assert answer.status_code == 200, answer.content.decode()
    assert (made().image, made().conda_file) == ("team/base:1", CONDA)
    code = ask(alice, url_of(cast, "endpoints/create"), **wish)
    told = yaml.safe_load(code["deployment"])["environment"]
    assert told == {"image": "team/base:1", "conda_file": yaml.safe_load(CONDA)}


def test_an_image_that_serves_by_itself_needs_no_script(
    alice: Client, cast: Cast, containers: None
) -> None:
    wish = {"environment_source": "image", "image": "team/serving:1", **SERVER}
    checked = send(alice, cast, "endpoints/create/check", **wish)
    assert "those of its image" in checked.content.decode()
    assert send(alice, cast, **wish).status_code == 200
    route = made().inference_config["scoring_route"]
    assert route == {"path": "/v1/models/half_plus_two:predict", "port": 8501}
    code = ask(alice, url_of(cast, "endpoints/create"), **wish)
    told = yaml.safe_load(code["deployment"])["environment"]
    assert told["inference_config"]["scoring_route"] == route
    assert '"scoringRoute"' in code["rest"]


def test_a_dockerfile_that_is_typed_and_the_files_that_it_copies_are_the_context(
    alice: Client, cast: Cast, containers: None
) -> None:
    wish = {"environment_source": "dockerfile", "dockerfile": "FROM base\r\nCOPY a.txt /\r\n"}
    answer = send(alice, cast, context_files=[file("a.txt", b"x")], **wish)
    assert answer.status_code == 200, answer.content.decode()
    entries = {entry.path for entry in storage.entries(made().build_context_hash)}
    assert entries == {"Dockerfile", "a.txt"}
    code = ask(alice, url_of(cast, "endpoints/create"), **wish)
    told = yaml.safe_load(code["deployment"])["environment"]
    assert told["build"] == {"path": "./context"}
    assert "FROM base" in code["cli"]


@pytest.mark.parametrize(
    ("source", "fields", "words"),
    [
        ("image", {"image": " "}, "Name the image."),
        ("dockerfile", {"dockerfile": " "}, "Write a Dockerfile"),
    ],
)
def test_what_is_missing_is_told_at_its_field(
    alice: Client, cast: Cast, containers: None, source: str, fields: dict[str, str], words: str
) -> None:
    answer = send(alice, cast, environment_source=source, **fields)
    assert answer.status_code == 422
    text = answer.content.decode()
    assert words in text and f'href="#id_{source}"' in text
    assert not OnlineDeployment.objects.exists()


def test_without_containers_an_image_is_refused_at_its_field(alice: Client, cast: Cast) -> None:
    answer = send(alice, cast, environment_source="image", image="team/base:1")
    assert answer.status_code == 422
    assert "needs the docker runtime" in answer.content.decode()
    assert not EnvironmentVersion.objects.filter(image="team/base:1").exists()


def test_a_startup_probe_is_there_only_if_it_is_asked_for(
    alice: Client, cast: Cast, tmp_path: Path
) -> None:
    assert send(alice, cast).status_code == 200
    deployment = OnlineDeployment.objects.get()
    assert spec_of(deployment).startup_probe == {}
    edit = f"endpoints/churn/deployments/{deployment.name}/edit"
    form = alice.get(url_of(cast, edit)).context["form"]
    assert form["startup_probe_period"].value() is None
    wish = {"startup_probe_period": "5", "startup_probe_failure_threshold": "60"}
    code = ask(alice, url_of(cast, "endpoints/create"), **wish)
    assert '"startupProbe"' in code["rest"]
    answer = send(alice, cast, name="green", endpoint_name="second", **wish)
    assert answer.status_code == 200
    wanted = spec_of(OnlineDeployment.objects.get(name="green")).startup_probe
    assert wanted == {"period": 5, "failure_threshold": 60}
