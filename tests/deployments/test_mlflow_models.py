"""MLflow models deployed without a script: what their files must have, and what they ask to have installed."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml

from deployments import mlflow_models, staging
from deployments.environments.specification import translate
from deployments.mlflow_models import check_model, environment_of
from deployments.models import OnlineDeployment
from deployments.tidying import environments_in_use
from tests.deployments.conftest import Factory, advance_until
from workspaces import catalog, storage
from workspaces.errors import UserError, ValidationFailed
from workspaces.models import ModelVersion

pytestmark = pytest.mark.django_db

FLAVOR = {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "python_version": "3.11.4"}
FILES = {
    "MLmodel": yaml.safe_dump({"mlflow_version": "3.1.0", "flavors": {"python_function": FLAVOR}}),
    "model.pkl": "weights",
    "conda.yaml": "dependencies:\n- python=3.11.4\n- pip\n- pip:\n  - mlflow==3.1.0\n  - scikit-learn==1.9.1\n",
    "python_env.yaml": "python: 3.11.4\nbuild_dependencies: [pip]\ndependencies:\n- -r requirements.txt\n",
    "requirements.txt": "mlflow==3.1.0\nscikit-learn==1.9.1",
}


def model_of(make: Factory, leaf: str = "model", **changes: str | None) -> ModelVersion:
    """A registered model with these files; a change to None takes one away, `_` stands for a dot."""
    named = {name.replace("__", "."): text for name, text in changes.items()}
    files = {name: text for name, text in {**FILES, **named}.items() if text is not None}
    content = storage.put_tree((name, io.BytesIO(text.encode())) for name, text in files.items())
    return catalog.register_model(
        make.workspace,
        "flows",
        content,
        leaf=leaf,
        is_folder=True,
        by=None,
        type="mlflow_model",
    )


def mlmodel(**flavor: Any) -> str:
    return yaml.safe_dump({"flavors": {"python_function": {**FLAVOR, **flavor}}})


def wish(make: Factory, model: ModelVersion, **changes: object) -> dict[str, Any]:
    return {"model": model, "code": None, "scoring_script": "", "environment": None, **changes}


def test_a_model_needs_neither_script_nor_environment(make: Factory) -> None:
    deployment = make.deployment(**wish(make, model_of(make)))
    revision = deployment.revision
    assert revision is not None and revision.environment_version is None
    translation = translate(staging.environment_spec(revision))
    assert translation.python == "3.11"
    assert translation.requirements == ("mlflow==3.1.0", "scikit-learn==1.9.1")
    assert environments_in_use()


def test_the_instance_is_told_where_the_model_lies(make: Factory) -> None:
    model = model_of(make, leaf="churn", conda__yaml="dependencies: [python]")
    environment = catalog.register_environment(
        make.workspace, "bare", by=None, version="1", conda_file="dependencies: [python]"
    )
    deployment = make.deployment(**wish(make, model, environment=environment))
    ready = advance_until(deployment, "Succeeded", "Failed")
    assert ready.state == "Succeeded", ready.failure
    revision = OnlineDeployment.objects.get().serving_revision
    assert revision is not None
    spec = staging.instance_spec(revision, 1)
    assert spec.environment_variables["MLFLOW_MODEL_FOLDER"] == "churn"
    assert spec.model_dir is not None
    assert (spec.model_dir / "churn" / "MLmodel").is_file()


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"MLmodel": "flavors: {spark: {}}"}, "model", "spark"),
    ({"model__pkl": None}, "model", "model.pkl"),
    ({"requirements__txt": None, "conda__yaml": None}, "model", "requirements.txt"),
    ({"conda__yaml": "dependencies: ["}, "model", "conda.yaml"),
    (
        {"conda__yaml": None, "python_env__yaml": None, "requirements__txt": None},
        "environment",
        "conda.yaml",
    ),
    ({"MLmodel": mlmodel(artifacts={"words": {"path": "artifacts/words.txt"}})}, "model", "words"),
]


@pytest.mark.parametrize(
    ("changes", "target", "word"), REFUSED, ids=["flavor", "file", "r-file", "yaml", "none", "art"]
)
def test_what_its_files_lack_is_told_before_anything_is_made(
    make: Factory, changes: dict[str, Any], target: str, word: str
) -> None:
    model = model_of(make, **changes)
    with pytest.raises((UserError, ValidationFailed)) as refused:
        make.deployment(**wish(make, model))
    errors = getattr(refused.value, "errors", [refused.value])
    assert [error.target for error in errors] == [target]
    assert word in errors[0].message
    assert not OnlineDeployment.objects.exists()


def test_an_environment_of_ones_own_needs_no_file_in_the_model(make: Factory) -> None:
    model = model_of(make, conda__yaml=None, python_env__yaml=None, requirements__txt=None)
    check_model(model, has_environment=True)
    with pytest.raises(UserError):
        check_model(model, has_environment=False)


ASKED: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({}, "3.11", ("mlflow==3.1.0", "scikit-learn==1.9.1")),
    ({"conda__yaml": None}, "3.11", ("mlflow==3.1.0", "scikit-learn==1.9.1")),
    (
        {"conda__yaml": None, "python_env__yaml": None},
        "3.11",
        ("mlflow==3.1.0", "scikit-learn==1.9.1"),
    ),
    (
        {"conda__yaml": "dependencies: [python=3.10, pip: [torch==2.0]]"},
        "3.10",
        ("torch==2.0", "mlflow-skinny==3.1.0", "pandas"),
    ),
    (
        {"conda__yaml": "dependencies: [python=3.9, numpy=1.26, pip: [mlflow-skinny==2.9.2]]"},
        "3.9",
        ("numpy==1.26.*", "mlflow-skinny==2.9.2", "pandas"),
    ),
    ({"conda__yaml": "dependencies: [mlflow=2.1]"}, "3.11", ("mlflow==2.1.*",)),
]


@pytest.mark.parametrize(("changes", "python", "requirements"), ASKED, ids=range(len(ASKED)))
def test_the_models_files_say_what_is_installed_and_mlflow_is_never_forgotten(
    make: Factory, changes: dict[str, Any], python: str, requirements: tuple[str, ...]
) -> None:
    translation = translate(environment_of(model_of(make, **changes)))
    assert (translation.python, translation.requirements) == (python, requirements)


def test_what_serving_imports_is_known_before_the_first_start(make: Factory) -> None:
    model = model_of(make)
    assert mlflow_models.imports_of(model).splitlines()[-1] == "import mlflow.sklearn"
    other = model_of(make, MLmodel=mlmodel(loader_module="os; import evil"))
    assert mlflow_models.imports_of(other) == "import mlflow.pyfunc\nimport pandas\n"


def test_a_model_with_a_script_is_not_served_by_us(make: Factory) -> None:
    deployment = make.deployment(model=model_of(make))
    assert deployment.revision is not None
    assert staging.mlflow_folder(deployment.revision) == ""


def test_a_custom_model_without_a_script_is_told_of_models_that_need_none(make: Factory) -> None:
    with pytest.raises((UserError, ValidationFailed), match="mlflow_model"):
        make.deployment(code=None, scoring_script="")
    assert not mlflow_models.is_served_alone(None, has_code=False)
