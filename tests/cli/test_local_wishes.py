"""What a deployment's YAML means on this machine, read by the SDK's own loader."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.faults import UsageFault
from cli.local.assets import Assets, Reference, parse
from cli.local.choice import runtime_for
from cli.local.engine import Engine
from cli.local.failures import card, in_words, phase_of
from cli.local.records import Failure
from cli.local.surroundings import Routes, Surroundings
from cli.local.wishes import Wish, wish_of, yaml_of

# The SDK's own, and those of the library it reads YAML with.
pytestmark = pytest.mark.filterwarnings("ignore")

SUBSCRIPTION = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"


def nobody() -> Any:
    raise UsageFault("You are not signed in.")


def load_online_deployment(path: Path) -> Any:
    """The SDK is imported by the tests that need it: it warns, and takes its time."""
    return importlib.import_module("azure.ai.ml").load_online_deployment(path)


class Project:
    """A folder with what `deployment.yml` in it names; changes are by its top-level keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src" / "inner").mkdir(parents=True)
        (folder / "src" / "inner" / "score.py").write_text("")
        (folder / "weights").mkdir()
        (folder / "weights" / "w.bin").write_text("")
        (folder / "conda").mkdir()
        (folder / "conda" / "env.yml").write_text("# mine\ndependencies: [{pip: ['-r a.txt']}]\n")

    def load(self, **changes: Any) -> Any:
        document = {
            "name": "blue",
            "endpoint_name": "my-endpoint",
            "model": {"path": "weights"},
            "code_configuration": {"code": "src", "scoring_script": "inner/score.py"},
            "environment": {"conda_file": "conda/env.yml", "image": IMAGE},
            "instance_type": "Standard_DS3_v2",
            "instance_count": 1,
            **changes,
        }
        path = self.folder / "deployment.yml"
        path.write_text(
            yaml.safe_dump({key: value for key, value in document.items() if value is not None})
        )
        return load_online_deployment(path)

    def wish(self, **changes: Any) -> Wish:
        return wish_of(self.load(**changes), Assets(self.folder / "fetched", nobody))

    def refusal(self, **changes: Any) -> str:
        with pytest.raises(UsageFault) as fault:
            self.wish(**changes)
        return str(fault.value)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_paths_are_relative_to_the_file(project: Project) -> None:
    wish = project.wish()
    assert wish.code_dir == project.folder / "src"
    assert str(wish.script) == "inner/score.py"
    assert wish.model is not None
    assert wish.model.path == project.folder / "weights"


def test_the_conda_file_is_taken_as_it_stands_with_its_own_folder(project: Project) -> None:
    wish = project.wish()
    packages = wish.surroundings.packages
    assert packages["conda_text"].startswith("# mine\n")
    assert packages["folder"] == str(project.folder / "conda")
    assert wish.surroundings.image == IMAGE


def test_conda_written_into_the_deployment_needs_no_file(project: Project) -> None:
    inline = {"conda_file": {"dependencies": ["python=3.11"]}, "image": IMAGE}
    told = yaml.safe_load(project.wish(environment=inline).surroundings.packages["conda_text"])
    assert told == {"dependencies": ["python=3.11"]}


@pytest.mark.parametrize(
    "curated",
    [
        "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest",
    ],
)
def test_curated_environments_are_known_without_a_portal(project: Project, curated: str) -> None:
    wish = project.wish(environment=curated)
    assert wish.surroundings.packages["curated_name"].endswith(curated.removeprefix("azureml:"))
    again = yaml_of(project.load(environment=curated))
    assert wish_of_yaml(project, again).surroundings == wish.surroundings


def test_an_image_of_azures_own_is_asked_for_by_its_name(project: Project) -> None:
    wish = project.wish(environment={"image": IMAGE})
    assert wish.surroundings.packages == {"curated_name": IMAGE}
    assert wish.surroundings.image_order() == {
        "is_custom": False,
        "image": IMAGE,
        "environment": None,
    }


def test_without_an_environment_the_minimal_one_is_built(project: Project) -> None:
    assert project.wish(environment=None).surroundings == Surroundings()


def test_numbers_and_switches_become_texts_as_in_azure(project: Project) -> None:
    variables = {"WORKER_COUNT": 2, "DEEP": True, "NAME": "x"}
    wish = project.wish(environment_variables=variables)
    assert wish.variables == {"WORKER_COUNT": "2", "DEEP": "True", "NAME": "x"}


def test_the_readiness_probe_says_how_long_the_model_may_load(project: Project) -> None:
    assert project.wish().ready_seconds == 310
    probe = {"initial_delay": 5, "period": 2, "failure_threshold": 10}
    assert project.wish(readiness_probe=probe).ready_seconds == 25


def test_whoever_debugs_has_all_the_time(project: Project) -> None:
    wish = project.wish(environment_variables={"AZUREML_DEBUG_PORT": 5678})
    assert wish.ready_seconds == math.inf


def test_what_is_kept_reads_the_same_wherever_it_lies(project: Project) -> None:
    deployment = project.load(environment_variables={"A": "1"}, tags={"team": "red"})
    kept = yaml_of(deployment)
    assert wish_of_yaml(project, kept) == project.wish(environment_variables={"A": "1"})
    assert yaml_of(load_elsewhere(project, kept)) == kept


def wish_of_yaml(project: Project, kept: dict[str, Any]) -> Wish:
    return wish_of(load_elsewhere(project, kept), Assets(project.folder / "fetched", nobody))


def load_elsewhere(project: Project, kept: dict[str, Any]) -> Any:
    other = project.folder / "elsewhere"
    other.mkdir(exist_ok=True)
    (other / "kept.yml").write_text(yaml.safe_dump(kept))
    return load_online_deployment(other / "kept.yml")


def test_each_part_that_is_missing_is_named(project: Project) -> None:
    assert "no scoring script" in project.refusal(code_configuration=None)
    assert "gone" in project.refusal(code_configuration={"code": "gone", "scoring_script": "s.py"})
    said = project.refusal(code_configuration={"code": "src", "scoring_script": "scor.py"})
    assert "Python files there: inner/score.py" in said


def test_a_script_outside_its_folder_is_refused(project: Project) -> None:
    (project.folder / "score.py").write_text("")
    code = {"code": "src", "scoring_script": "../score.py"}
    assert "not in the code folder" in project.refusal(code_configuration=code)


ROUTE = {"port": 8080, "path": "score"}
CUSTOM = {
    "image": "example.com/x",
    "inference_config": {
        "liveness_route": {"port": 8081, "path": "/live"},
        "readiness_route": {"port": 8081, "path": "/ready"},
        "scoring_route": ROUTE,
    },
}


def test_a_custom_container_says_where_it_answers(project: Project) -> None:
    wish = project.wish(environment=CUSTOM, code_configuration=None)
    assert wish.surroundings.routes == Routes(8080, "/score", "/ready", 8081)
    order = wish.surroundings.image_order()
    assert order == {"is_custom": True, "image": "example.com/x", "environment": None}


def test_a_build_context_is_a_folder_of_this_machine(project: Project) -> None:
    (project.folder / "docker").mkdir()
    context = {"build": {"path": "docker", "dockerfile_path": "Two"}}
    wish = project.wish(environment=context)
    order = {"is_custom": False, "context": str(project.folder / "docker"), "dockerfile": "Two"}
    assert wish.surroundings.image_order() == order
    kept = yaml_of(project.load(environment=context))
    assert wish_of_yaml(project, kept).surroundings == wish.surroundings


def test_models_that_are_served_alone_bring_their_packages(project: Project) -> None:
    model = {"path": "weights", "type": "mlflow_model"}
    alone = {"model": model, "code_configuration": None, "environment": None}
    assert "neither conda.yaml nor requirements.txt" in project.refusal(**alone)
    (project.folder / "weights" / "conda.yaml").write_text("dependencies: [python=3.11]\n")
    wish = project.wish(**alone)
    assert wish.served_alone == "mlflow_model"
    assert wish.surroundings.packages["conda_text"] == "dependencies: [python=3.11]\n"
    triton = project.wish(**{**alone, "model": {"path": "weights", "type": "triton_model"}})
    assert triton.surroundings.packages == {"curated_name": "triton-inference"}


def chosen(wish: Wish, told: str, found: Engine, patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The runtime and what is said about it."""
    patch.setenv("PORTICO_LOCAL_RUNTIME", told)
    patch.setattr("cli.local.choice.engine", lambda: found)
    try:
        runtime, warnings = runtime_for(wish)
    except UsageFault as fault:
        return "", str(fault)
    return runtime, " ".join(warnings)


def test_docker_runs_what_names_an_image_where_an_engine_answers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, away = Engine(), Engine("The engine does not answer.")
    image = project.wish()
    packages = project.wish(environment="azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest")
    custom = project.wish(environment=CUSTOM, code_configuration=None)
    assert chosen(image, "auto", there, monkeypatch) == ("docker", "")
    runtime, said = chosen(image, "auto", away, monkeypatch)
    assert (runtime, IMAGE in said, "does not answer" in said) == ("process", True, True)
    assert chosen(packages, "auto", there, monkeypatch) == ("process", "")
    assert chosen(packages, "docker", there, monkeypatch) == ("docker", "")
    assert chosen(custom, "auto", there, monkeypatch) == ("docker", "")
    for told, found in (("auto", away), ("process", there)):
        runtime, said = chosen(custom, told, found, monkeypatch)
        assert (runtime, "custom container, which needs Docker" in said) == ("", True)
    assert "no container can be started" in chosen(packages, "docker", away, monkeypatch)[1]
    assert "one of auto, docker, process" in chosen(image, "podman", there, monkeypatch)[1]


def test_a_script_that_calls_a_debugger_is_a_process_of_the_machine(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = project.wish(environment_variables={"AZUREML_DEBUG_PORT": 5678})
    assert chosen(wish, "auto", Engine(), monkeypatch)[0] == "process"


def test_a_gpu_that_no_engine_has_is_told_before_anything_is_built(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = replace(project.wish(), wants_gpu=True)
    assert "NVIDIA container toolkit" in chosen(wish, "auto", Engine(), monkeypatch)[1]
    assert chosen(wish, "auto", Engine(has_gpus=True), monkeypatch)[0] == "docker"


def test_only_scripts_are_debugged(project: Project) -> None:
    assets = Assets(project.folder / "fetched", nobody)
    custom = project.load(environment=CUSTOM, code_configuration=None)
    with pytest.raises(UsageFault, match="a server of its own"):
        wish_of(custom, assets, is_debugged=True)
    calling = project.load(environment_variables={"AZUREML_DEBUG_PORT": 5678})
    with pytest.raises(UsageFault, match="two ways to debug"):
        wish_of(calling, assets, is_debugged=True)


def test_a_model_folder_that_holds_our_own_records_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_CONFIG_DIR", str(project.folder / "home"))
    assert "a folder of its own" in project.refusal(model={"path": "."})


def test_a_registered_model_needs_a_sign_in(project: Project) -> None:
    said = project.refusal(model="azureml:churn:7")
    assert "'churn' is registered on a portal" in said
    assert "not signed in" in said


@pytest.mark.parametrize("name", ["../up", "x", "a/b", "-ab", "a" * 33])
def test_a_name_that_could_lead_out_of_the_home_is_refused(project: Project, name: str) -> None:
    assert "not allowed" in project.refusal(endpoint_name=name)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("churn:7", Reference("churn", "7", None)),
        ("azureml:churn@latest", Reference("churn", None, "latest")),
        (f"{SUBSCRIPTION}/workspaces/w/models/m/versions/3", Reference("m", "3", None, "w")),
    ],
)
def test_references_are_read_in_all_their_forms(text: str, meant: Reference) -> None:
    assert parse(text, "model") == meant


def test_a_registry_is_no_workspace() -> None:
    with pytest.raises(UsageFault, match="cannot be fetched"):
        parse("azureml://registries/other/models/m/versions/1", "model")


def test_the_card_has_the_form_of_a_portals() -> None:
    failure = Failure("UserScriptInitFailed", "init() raised X.", ("line 1", "line 2"), ("Do it",))
    assert card(failure, phase_of(failure.code)) == (
        "(UserScriptInitFailed) init() raised X.\n  Phase: Load model\n  Evidence:\n    | line 1\n    | line 2\n"
        "  What helps:\n    - Do it"
    )


def test_a_card_does_not_say_its_cause_twice() -> None:
    failure = Failure("ImageBuildFailure", "The engine refused: no route.", ("no route.",))
    assert card(failure, "Build environment") == (
        "(ImageBuildFailure) The engine refused: no route.\n  Phase: Build environment"
    )


def test_what_helps_against_a_failed_build_are_no_buttons() -> None:
    fixes = [
        {"label": "Choose another image", "kind": "edit_environment", "detail": "image"},
        {"label": "View build log", "kind": "open_build_log", "detail": ""},
        {"label": "Retry", "kind": "retry", "detail": ""},
    ]
    assert in_words(fixes) == (
        "Choose another image, then run the command again",
        "Run the command again, once the cause is gone",
    )


def test_a_local_card_says_what_helps_against_its_code() -> None:
    text = card(Failure("OutOfMemory", "Killed at 4 GiB.", (), ("Look at the log",)), "Load model")
    assert text.endswith("  - Look at the log")
    assert "larger instance_type" in text
