"""Triton models without code: the layout of their files, and what a deployment of one is made of."""

from __future__ import annotations

import io

import pytest
from pytest_django import Settings

from deployments import probing, staging, triton
from deployments.changes import create_deployment
from deployments.probes import Kind
from deployments.runtimes import InstanceSpec
from tests.deployments.conftest import Factory, advance_once
from workspaces import catalog, storage
from workspaces.errors import UserError
from workspaces.models import ModelVersion

pytestmark = pytest.mark.django_db


def register(
    make: Factory, files: dict[str, str], *, leaf: str = "models", is_folder: bool = True
) -> ModelVersion:
    content = storage.put_tree([(path, io.BytesIO(text.encode())) for path, text in files.items()])
    return catalog.register_model(
        make.workspace,
        "vision",
        content,
        leaf=leaf,
        is_folder=is_folder,
        type=ModelVersion.Type.TRITON,
        by=None,
    )


@pytest.mark.parametrize(
    ("files", "folder", "models"),
    [
        ({"a/1/model.onnx": ""}, "", ("a",)),
        ({"a/1/model.onnx": "", "b/2/model.py": "", "README.md": ""}, "", ("a", "b")),
        ({"models/a/1/model.onnx": ""}, "models", ("a",)),
        ({"deep/models/a/config.pbtxt": "", "deep/models/a/7/model.py": ""}, "deep/models", ("a",)),
        ({"all/config.pbtxt": 'platform: "ensemble"', "a/1/model.onnx": ""}, "", ("a", "all")),
        ({"a/1/model.onnx": "", ".amlignore": "", "a/.hidden/x": ""}, "", ("a",)),
    ],
)  # fmt: skip
def test_the_repository_is_found_in_its_folder(
    make: Factory, files: dict[str, str], folder: str, models: tuple[str, ...]
) -> None:
    found = triton.repository_of(register(make, files))
    assert (found.folder, found.models) == (folder, models)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.pbtxt": "", "1/model.onnx": ""}, "Register the folder above it"),
        ({"model.onnx": ""}, "The files of this one: model.onnx"),
        ({"a/model.onnx": "", "b/model.onnx": ""}, "<model>/<version>/<file>"),
        ({"a/1/model.onnx": "", "b/model.onnx": ""}, "The model 'b' has no version"),
        ({"a/1/model.plan": ""}, "The model 'a' is one of TensorRT, which only Triton itself runs"),
        ({"a/1/m.bin": "", "a/config.pbtxt": 'platform: "pytorch_libtorch"'}, "one of PyTorch"),
        ({"a/1/model.savedmodel/saved_model.pb": ""}, "Convert it to ONNX (a/<version>/model.onnx)"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_with_the_way_out(
    make: Factory, files: dict[str, str], words: str
) -> None:
    spec = make.spec(code=None, scoring_script="", environment=None, model=register(make, files))
    with pytest.raises(UserError) as caught:
        create_deployment(make.endpoint(), spec, by=make.alice)
    assert (words in caught.value.message, caught.value.target) == (True, "model"), str(
        caught.value
    )


def test_a_single_file_is_refused(make: Factory) -> None:
    model = register(make, {"model.onnx": ""}, leaf="model.onnx", is_folder=False)
    with pytest.raises(UserError, match="is a single file"):
        triton.repository_of(model)


def test_tritons_own_image_runs_models_of_every_kind(make: Factory, settings: Settings) -> None:
    settings.TRITON_IMAGE = "triton:24.08"
    model = register(make, {"a/1/model.plan": ""})
    triton.check_repository(model, "docker")
    with pytest.raises(UserError, match="TensorRT"):
        triton.check_repository(model, "process")


def test_tritons_own_image_is_told_where_the_repository_is_and_asked_at_its_own_routes(
    make: Factory, settings: Settings
) -> None:
    model = register(make, {"a/1/model.onnx": ""}, leaf="upload")
    spec = make.spec(code=None, scoring_script="", environment=None, model=model)
    revision = create_deployment(make.endpoint(), spec, by=make.alice).revision
    assert revision is not None
    settings.TRITON_IMAGE = "triton:24.08"
    assert not triton.runs_in_image(revision)
    revision.runtime = "docker"
    assert triton.runs_in_image(revision)
    plain = InstanceSpec("e.d.1.1", 1, None, "", None, None, model_repository="upload")
    found = triton.in_image(plain)
    assert found.command[:2] == ("tritonserver", "--model-repository=/models/upload")
    assert (found.is_custom, found.port, found.model_mount) == (True, 8000, "/models")
    plan = probing.plan_of(revision)
    assert plan.routes[Kind.LIVENESS].path == found.liveness_path == "/v2/health/live"
    assert plan.routes[Kind.READINESS].path == found.readiness_path == "/v2/health/ready"


def test_a_deployment_without_code_serves_the_repository_with_our_environment(
    make: Factory,
) -> None:
    model = register(make, {"models/a/1/model.onnx": ""}, leaf="upload")
    spec = make.spec(code=None, scoring_script="", environment=None, model=model)
    deployment = create_deployment(make.endpoint(), spec, by=make.alice)
    revision = deployment.revision
    assert revision is not None
    assert staging.environment_spec(revision).curated_name == triton.ENVIRONMENT
    assert triton.folder_below_root(model) == "upload/models"


def test_an_environment_of_ones_own_is_used_instead(make: Factory) -> None:
    model = register(make, {"a/1/model.py": ""})
    deployment = create_deployment(
        make.endpoint(), make.spec(code=None, scoring_script="", model=model), by=make.alice
    )
    advance_once(deployment)
    revision = deployment.revision
    assert revision is not None
    assert staging.environment_spec(revision).conda_text
    spec = staging.instance_spec(revision, 1)
    assert (spec.model_repository, spec.scoring_script, spec.code_dir) == ("models", "", None)


def test_a_script_beside_a_triton_model_is_run_as_ever(make: Factory) -> None:
    model = register(make, {"whatever.bin": ""})
    deployment = create_deployment(make.endpoint(), make.spec(model=model), by=make.alice)
    revision = deployment.revision
    assert revision is not None
    assert staging.instance_spec(revision, 1).model_repository == ""
