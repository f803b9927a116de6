"""Real MLflow models through provisioning on the process runtime, in the environment that they ask for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from cli.local.packages import package_settings
from deployments import installation
from deployments.environments import EnvironmentSettings, EnvironmentSpec, EnvironmentStore
from deployments.models import Instance, OnlineDeployment
from deployments.runtimes.process import ProcessRuntime
from tests.deployments.conftest import Factory, advance_once
from workspaces import catalog, storage

pytestmark = [pytest.mark.django_db, pytest.mark.real]

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "tests" / "models"
# The small package of MLflow is enough to make and to serve; boosting libraries without their GPU halves.
PACKAGES = ["mlflow-skinny", "pandas", "scikit-learn", "skops", "lightgbm", "xgboost-cpu"]
COLUMNS = [f"c{number}" for number in range(10)]
SECONDS_TO_SERVE = 120
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Made:
    """Models made by MLflow itself, and the store that knows their environment."""

    models: Path
    environments: Path
    python: Path


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    place = Path(tempfile.mkdtemp(prefix="portico-mlflow-"))
    place.chmod(0o755)
    lines = "".join(f"  - {package}\n" for package in PACKAGES)
    spec = EnvironmentSpec(conda_text=f"dependencies:\n- python={MINOR}\n- pip:\n{lines}")
    store = EnvironmentStore(place / "environments", EnvironmentSettings(**package_settings()))
    python = store.build(spec).python
    models = place / "models"
    run(python, SCRIPTS / "make_mlflow.py", models, *PACKAGES)
    yield Made(models, place / "environments", python)
    shutil.rmtree(place, ignore_errors=True)


def run(python: Path, *arguments: object) -> str:
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(autouse=True)
def process_runtime(settings: Settings, runtime: object, made: Made) -> Iterator[None]:
    settings.DEPLOYMENT_RUNTIME = "process"
    settings.DEPLOYMENTS_ROOT = settings.PORTICO_HOME / "deployments"
    settings.ENVIRONMENTS_ROOT = made.environments
    settings.PORTICO_HOME.mkdir(exist_ok=True)
    Path(settings.RUN_DIR).mkdir(exist_ok=True, mode=0o711)
    installation.environments.cache_clear()
    installation.forget_runtimes()
    started = installation.runtime()
    assert isinstance(started, ProcessRuntime)
    yield
    for name in started.owned():
        started.remove(name)
    installation.environments.cache_clear()


def deployed(make: Factory, folder: Path) -> OnlineDeployment:
    """The folder registered as an MLflow model and deployed with nothing else, until that is over."""
    model = catalog.register_model(
        make.workspace,
        folder.name,
        storage.put_folder(folder),
        leaf=folder.name,
        is_folder=True,
        by=None,
        type="mlflow_model",
    )
    deployment = make.deployment(model=model, code=None, scoring_script="", environment=None)
    until = time.monotonic() + SECONDS_TO_SERVE
    while time.monotonic() < until:
        fresh = OnlineDeployment.objects.get(pk=deployment.pk)
        if fresh.state in ("Succeeded", "Failed"):
            return fresh
        advance_once(fresh)
        time.sleep(0.1)
    raise AssertionError(f"still {fresh.state}: {list(Instance.objects.values())}")


def client(deployment: OnlineDeployment) -> httpx.Client:
    address = Instance.objects.get(deployment=deployment, state="Healthy").address
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    return httpx.Client(transport=transport, base_url="http://model", timeout=20)


def test_models_answer_as_mlflows_own_server_answers(made: Made) -> None:
    told = json.loads(run(made.python, SCRIPTS / "compare_mlflow.py", made.models, REPOSITORY))
    assert {name: found["different"] for name, found in told.items() if found["different"]} == {}
    arrays = {name for name, found in told.items() if found["takes_arrays"]}
    assert arrays == {"ridge", "pipeline", "chances", "lightgbm", "xgboost"}
    together = {name: found["is_same_together"] for name, found in told.items()}
    shared = {name for name, is_same in together.items() if is_same is not None}
    assert shared == {*arrays, "booster", "by_name", "tensor"}
    assert all(together[name] for name in shared), together


def test_a_model_without_a_script_is_deployed_and_scores_in_every_form(
    make: Factory, made: Made
) -> None:
    deployment = deployed(make, made.models / "ridge")
    assert deployment.state == "Succeeded", deployment.failure
    names, row = COLUMNS, [0.1 * place for place in range(10)]
    split = {"columns": names, "data": [row]}
    record = dict(zip(names, row, strict=True))
    columns = {name: [value] for name, value in record.items()}
    with client(deployment) as http:
        wanted = http.post("/score", json={"input_data": split}).json()
        assert wanted == pytest.approx([sum(row)], abs=0.2)
        for data in ({**split, "index": [4]}, [record], [row], columns):
            assert http.post("/score", json={"input_data": data}).json() == wanted
        forms: dict[str, Any] = {
            "dataframe_split": split,
            "dataframe_records": [record],
            "instances": [record],
            "inputs": columns,
        }
        for form, data in forms.items():
            answer = http.post("/invocations", json={form: data})
            assert answer.json() == {"predictions": wanted}
        csv = ",".join(names) + "\n" + ",".join(map(str, row)) + "\n"
        answer = http.post("/invocations", content=csv, headers={"Content-Type": "text/csv"})
        assert answer.json()["predictions"] == pytest.approx(wanted)
        assert http.get("/ping").status_code == 200
        bare = http.post("/score", json={"dataframe_split": split})
        assert (bare.status_code, "input_data" in bare.json()["message"]) == (400, True)
        short = http.post("/score", json={"input_data": {"columns": names[1:], "data": [row[1:]]}})
        assert (short.status_code, "c0" in short.json()["message"]) == (400, True)
        document = http.get("/swagger.json").json()
        example = document["definitions"]["ServiceInput"]["example"]
        assert http.post("/score", json=example).status_code == 200


def test_code_of_a_models_own_gets_its_parameters_and_its_faults_are_its_own(
    make: Factory, made: Made
) -> None:
    deployment = deployed(make, made.models / "custom")
    assert deployment.state == "Succeeded", deployment.failure
    with client(deployment) as http:

        def ask(*row: object, **more: object) -> httpx.Response:
            data = {"columns": ["x"], "data": [list(row)]}
            return http.post("/score", json={"input_data": data, **more})

        assert ask(1).json() == [{"scaled": 2.0, "root": 1.0}]
        assert ask(0.25).json() == [{"scaled": 0.5, "root": None}]
        assert ask(5, params={"factor": 2}).json() == [{"scaled": 10.0, "root": 3.0}]
        assert ask(5, params={"factor": "2"}).status_code == 400
        failed = ask(-1)
        assert failed.status_code == 500
        assert failed.headers["x-ms-run-function-failed"] == "True"


def test_a_model_that_cannot_be_loaded_says_what_it_needs(
    make: Factory, made: Made, tmp_path: Path
) -> None:
    folder = shutil.copytree(made.models / "ridge", tmp_path / "foreign")
    described = (folder / "MLmodel").read_text().replace("model.skops", "model.pkl")
    described = described.replace("serialization_format: skops", "serialization_format: pickle")
    (folder / "MLmodel").write_text(described)
    (folder / "model.pkl").write_bytes(b"cnowhere_to_be_found\nThing\n.")
    deployment = deployed(make, folder)
    assert deployment.state == "Failed"
    assert deployment.failure["code"] == "ModelLoadFailed", deployment.failure
    assert "nowhere_to_be_found" in deployment.failure["cause"]
    assert deployment.failure["title"] == "The model could not be loaded"
    assert deployment.failure["evidence"]
    assert "edit_environment" in [fix["kind"] for fix in deployment.failure["fixes"]]
