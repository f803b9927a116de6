"""The deployment form with an image or a Dockerfile named in it, its own server, and the startup probe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from django.test import Client
from django.utils.html import strip_tags
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


def words_of(page: str) -> str:
    return " ".join(strip_tags(page).split())


def test_check_says_what_it_does_not_know_of_an_image(
    alice: Client, cast: Cast, containers: None
) -> None:
    script = "import joblib, numpy\ndef init(): pass\ndef run(data): return data\n"
    wish = {"environment_source": "image", "image": "team/base:1", "script": script}
    page = send(alice, cast, "endpoints/create/check", **wish).content.decode()
    said = words_of(page)
    assert "Environment the image is used as it is" in said
    assert "Python that of its image" in said
    assert "whether that has what score.py imports (joblib, numpy)" in said
    assert "has the image team/base:1 or can fetch it" in said
    assert "Everything that Check looks at is right" not in said and "tone-success" not in page
    on_top = send(alice, cast, "endpoints/create/check", image_conda_file=CONDA, **wish)
    assert "score.py imports joblib, and the environment does not name it" in words_of(
        on_top.content.decode()
    )


def test_check_says_what_it_does_not_know_of_a_dockerfile_and_a_server(
    alice: Client, cast: Cast, containers: None
) -> None:
    built = {"environment_source": "dockerfile", "dockerfile": "FROM base\n"}
    said = words_of(send(alice, cast, "endpoints/create/check", **built).content.decode())
    assert "will be built from the Dockerfile" in said and "whether the Dockerfile builds" in said
    own = {"environment_source": "image", "image": "team/serving:1", **SERVER}
    said = words_of(send(alice, cast, "endpoints/create/check", **own).content.decode())
    assert "whether its server answers on port 8501" in said and "imports" not in said


def test_packages_on_top_of_an_image_are_looked_at(alice: Client, cast: Cast) -> None:
    wish = {"environment_source": "image", "image": "team/base:1", "image_conda_file": CONDA}
    found = send(alice, cast, "environments/check", **wish).content.decode()
    assert "numpy" in found
    alone = send(alice, cast, "environments/check", **wish | {"image_conda_file": " "})
    assert "there is nothing to resolve" in alone.content.decode()
    page = alice.get(url_of(cast, "endpoints/create")).content.decode()
    button = page.split("Resolve the packages</button>")[0].rsplit("data-shown-when", 1)[1]
    assert "|image" in button and "image_conda_file" in button


def test_what_was_chosen_is_not_called_optional(alice: Client, cast: Cast) -> None:
    page = alice.get(url_of(cast, "endpoints/create")).content.decode()
    for name in ("image", "environment_version", "curated", "model_version"):
        label = page.split(f'for="id_{name}"', 1)[1].split("</label>")[0]
        assert "optional" not in label, name


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
