"""What a conda file, a requirements file and a curated name come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.environments import EnvironmentSpec, content_hash, curated, curated_environments
from deployments.environments.conda import (
    MINIMAL_REQUIREMENTS,
    Translation,
    translate_conda,
    translate_requirements,
)
from deployments.environments.specification import translate
from workspaces.errors import UserError, ValidationFailed

ONLINE = """\
name: model-env
channels:
  - conda-forge
dependencies:
  - python=3.12
  - numpy=2.3.1
  - pip=25.1.1
  - scikit-learn=1.7.0
  - scipy=1.16.0
  - pip:
    - azureml-inference-server-http==1.4.1
    - inference-schema[numpy-support]
    - joblib"""

BATCH = """\
name: mnist-env
channels:
  - conda-forge
dependencies:
  - python=3.8.5
  - pip<22.0
  - pip:
    - torch==1.13.0
    - azureml-dataset-runtime[fuse]
"""

PYTHON_ENV = """\
python: 3.8.5
build_dependencies:
- pip==23.2.1
- setuptools
- wheel==0.38.4
dependencies:
- -r requirements.txt
"""


def one(package: str) -> Translation:
    return translate_conda(f"dependencies:\n  - {package!r}\n")


def refusal(text: str, folder: Path | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        translate_conda(text, folder=folder)
    return caught.value


def test_an_online_example_becomes_pip_requirements() -> None:
    translation = translate_conda(ONLINE)
    assert translation.python == "3.12"
    assert translation.channels == ("conda-forge",)
    assert translation.warnings == ()
    assert translation.requirements == (
        "numpy==2.3.1.*",
        "scikit-learn==1.7.0.*",
        "scipy==1.16.0.*",
        "azureml-inference-server-http==1.4.1",
        "inference-schema[numpy-support]",
        "joblib",
    )
    assert translation.conda_names["scikit-learn"] == "scikit-learn"
    assert "joblib" not in translation.conda_names


def test_a_patch_version_of_python_means_its_minor() -> None:
    translation = translate_conda(BATCH)
    assert translation.python == "3.8"
    assert translation.requirements == ("torch==1.13.0", "azureml-dataset-runtime[fuse]")


def test_mlflows_own_format_is_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mlflow==2.7.0\nnumpy==1.24.4  # pinned\n")
    translation = translate_conda(PYTHON_ENV, folder=tmp_path)
    assert translation.python == "3.8"
    assert translation.requirements == ("mlflow==2.7.0", "numpy==1.24.4")


@pytest.mark.parametrize(
    ("package", "requirement"),
    [
        ("numpy", "numpy"),
        ("numpy=1.2", "numpy==1.2.*"),
        ("numpy = 1.2", "numpy==1.2.*"),
        ("numpy==1.2", "numpy==1.2"),
        ("numpy=1.2.*", "numpy==1.2.*"),
        ("numpy=1.2*", "numpy==1.2.*"),
        ("numpy 1.2", "numpy==1.2"),
        ("numpy 1.2.*", "numpy==1.2.*"),
        ("numpy>=1.2,<2", "numpy>=1.2,<2"),
        ("numpy >=1.2, <2", "numpy>=1.2,<2"),
        ("numpy>=1.2.*", "numpy>=1.2"),
        ("numpy!=1.3", "numpy!=1.3"),
        ("numpy!=1.3.*", "numpy!=1.3.*"),
        ("numpy~=1.2.3", "numpy~=1.2.3"),
        ("numpy=1.2=py38h2c96a2a_0", "numpy==1.2.*"),
        ("numpy==1.2=py38_0", "numpy==1.2"),
        ("numpy 1.2 py38_0", "numpy==1.2"),
        ("numpy=*", "numpy"),
        ("numpy[version='>=1.2,<2']", "numpy>=1.2,<2"),
        ("conda-forge::numpy=1.2", "numpy==1.2.*"),
        ("conda-forge/linux-64::numpy", "numpy"),
        ("pytorch=2.2", "torch==2.2.*"),
        ("py-xgboost", "xgboost"),
        ("opencv", "opencv-python-headless"),
        ("matplotlib-base", "matplotlib"),
        ("dask-core", "dask"),
        ("pytables", "tables"),
        ("cuda-python", "cuda-python"),
        ("librosa", "librosa"),
        ("ruamel.yaml", "ruamel.yaml"),
        ("NumPy", "numpy"),
    ],
)
def test_a_conda_package_becomes_a_pip_requirement(package: str, requirement: str) -> None:
    translation = one(package)
    assert translation.requirements == (requirement,)
    assert translation.warnings == ()


@pytest.mark.parametrize(
    "package",
    [
        "cudatoolkit=11.8",
        "gcc_linux-64",
        "libgcc-ng",
        "openmpi",
        "ffmpeg",
        "git",
        "pytorch-cuda=12.1",
        "cpuonly",
        "mkl",
        "r-base",
        "libblas=*=*mkl",
        "nvidia::cuda-toolkit",
        "_libgcc_mutex=0.1=main",
    ],
)
def test_what_is_no_python_package_is_left_out_with_a_warning(package: str) -> None:
    translation = one(package)
    assert translation.requirements == ()
    assert repr(package) in translation.warnings[0]


def test_pip_itself_is_dropped_in_both_lists() -> None:
    text = "dependencies:\n- pip=25\n- pip:\n  - pip==25.1\n  - pip-tools\n"
    assert translate_conda(text).requirements == ("pip-tools",)


@pytest.mark.parametrize(
    ("spec", "minor"),
    [
        ("python", ""),
        ("python=3", "3.12"),
        ("python=3.10", "3.10"),
        ("python=3.9.*", "3.9"),
        ("python==3.8.5", "3.8"),
        ("python>=3.8", "3.12"),
        ("python>=3.8,<3.11", "3.10"),
        ("python<3.9.5", "3.9"),
        ("python 3.11.*", "3.11"),
        ("python=3.7.11", "3.7"),
        ("python=3.8.5=h_1", "3.8"),
    ],
)
def test_the_python_line_chooses_the_interpreter(spec: str, minor: str) -> None:
    assert one(spec).python == minor


@pytest.mark.parametrize("spec", ["python=2.7", "python<3.6", "python>=4"])
def test_a_python_that_cannot_be_is_refused(spec: str) -> None:
    error = refusal(f"dependencies:\n- {spec}\n")
    assert error.code == "PythonMismatch"
    assert error.target == "dependencies[0]"


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("- a\n- b\n", "conda_file", "must be a mapping with 'dependencies:'"),
        ("dependencies: numpy\n", "dependencies", "must be a list of packages"),
        ("dependencies:\n- 3.8\n", "dependencies[0]", "must be a package like"),
        ("dependencies:\n- null\n", "dependencies[0]", "must be a package like"),
        ("dependencies:\n- [numpy]\n", "dependencies[0]", "must be a package like"),
        ("dependencies:\n- numpy: 1.2\n", "dependencies[0]", "only mapping a conda file knows"),
        ("dependencies:\n- pip: numpy\n", "dependencies[0].pip", "must be a list of lines"),
        ("dependencies:\n- x\n- pip:\n  - a\n  - 1.5\n", "dependencies[1].pip[1]", "1.5 (float)"),
        ("dependencies:\n- pip:\n  - a: b\n", "dependencies[0].pip[0]", "must be text"),
        ("dependencies:\n- pip:\n  - a=1\n", "dependencies[0].pip[0]", "two equals signs: 'a==1'"),
        ("dependencies:\n- pip:\n  - a ==\n", "dependencies[0].pip[0]", "not a pip requirement"),
        ("dependencies:\n- '!numpy'\n", "dependencies[0]", "not a conda package"),
        ("dependencies:\n- numpy=one two three,\n", "dependencies[0]", "not a version"),
        ("dependencies:\n- numpy=1.2|1.3\n", "dependencies[0]", "alternatives with '|'"),
        ("dependencies:\n- python=3.8\n- python=3.9\n", "dependencies[1]", "a second time"),
        ("channels: conda-forge\n", "channels", "must be a list"),
        ("variables: [A]\n", "variables", "must be a mapping"),
        ("variables: {A: [1]}\n", "variables.A", "must be text"),
        ("dependencies: [\n", "conda_file", "line 2"),
        ("a: 2020-13-45\n", "conda_file", "cannot be read"),
        ("[" * 3000, "conda_file", "cannot be read"),
        ("x" * 1_000_001, "conda_file", "at most 1,000,000"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(text: str, target: str, words: str) -> None:
    error = refusal(text)
    assert error.target == target
    assert words in error.message


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    text = """
dependencies:
- numpy=1.0|2.0
- sci kit
- pip:
  - pandas=2.1
  - flask
  - requests>>2
"""
    with pytest.raises(ValidationFailed) as caught:
        translate_conda(text)
    targets = [error.target for error in caught.value.errors]
    assert targets == [
        "dependencies[0]",
        "dependencies[1]",
        "dependencies[2].pip[0]",
        "dependencies[2].pip[2]",
    ]


def test_a_channel_that_is_not_asked_is_named() -> None:
    found = translate_conda("channels: [conda-forge, nvidia]\ndependencies: [numpy]")
    assert len(found.warnings) == 1
    assert "the channel nvidia" in found.warnings[0]
    assert not translate_conda("channels: [conda-forge]\ndependencies: [numpy]").warnings


def test_an_empty_file_is_an_empty_environment() -> None:
    assert translate_conda("").requirements == ()
    assert translate_conda("name: x\ndependencies:\n").requirements == ()


def test_unknown_keys_are_told_and_variables_kept() -> None:
    translation = translate_conda("foo: 1\nvariables: {A: b, N: 1}\n")
    assert translation.warnings == ("Ignored in the conda file: foo.",)
    assert translation.variables == {"A": "b", "N": "1"}


def test_included_files_are_read_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "base.txt").write_text("six\n--requirement more/extra.txt\n")
    (tmp_path / "more/extra.txt").write_text("-r ../base.txt\nidna \\\n  >=3\n-rlast.txt\n")
    (tmp_path / "more/last.txt").write_text("\ufeffattrs; python_version>'3'\n")
    translation = translate_conda(
        "dependencies:\n- pip:\n  - -r base.txt\n  - tomli\n", folder=tmp_path
    )
    assert translation.requirements == ("six", "idna >=3", "attrs; python_version>'3'", "tomli")


@pytest.mark.parametrize(
    "line",
    [
        "-r ../secret.txt",
        "-r /etc/passwd",
        "-r link.txt",
        "-r deeper/../../secret.txt",
        "./../secret.txt",
        "/etc/passwd",
        "file:///etc/passwd",
        "x @ file:///etc/passwd",
        "-e ../",
        "-e /etc",
        "x @ ../secret.txt",
    ],
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "environment"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("token\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    error = refusal(f"dependencies:\n- pip:\n  - {line!r}\n", folder)
    assert "outside the environment's folder" in error.message
    assert error.target == "dependencies[0].pip[0]"


def test_an_include_without_a_folder_or_file_says_so(tmp_path: Path) -> None:
    text = "dependencies:\n- pip:\n  - -r more.txt\n"
    assert "came without its folder" in refusal(text).message
    assert "not a readable text file" in refusal(text, tmp_path).message
    (tmp_path / "more.txt").write_bytes(b"\xff\xfe\xff")
    assert "not a readable text file" in refusal(text, tmp_path).message


def test_a_mistake_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/list.txt").write_text("six\nnumpy=1\n")
    error = refusal("dependencies:\n- pip:\n  - -r more/list.txt\n", tmp_path)
    assert error.target == "more/list.txt line 2"


def test_index_lines_are_kept_and_needless_options_dropped() -> None:
    translation = translate_requirements(
        "--extra-index-url https://download.example/whl/cpu\n--trusted-host x\n--pre\ntorch\n"
    )
    assert translation.requirements == (
        "--extra-index-url https://download.example/whl/cpu",
        "--pre",
        "torch",
    )
    assert "--trusted-host" in translation.warnings[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-f /srv/wheels", "only http and https"),
        ("--index-url file:///srv", "only http and https"),
        ("--config-settings x", "not supported"),
        ("-c pins.txt", "constraints file"),
    ],
)
def test_options_that_reach_into_the_machine_are_refused(
    tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "pins.txt").write_text("six==1.0\n")
    with pytest.raises(UserError, match=words):
        translate_requirements(f"{line}\n", folder=tmp_path)


def test_a_local_wheel_counts_by_its_content(tmp_path: Path) -> None:
    hashes = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        folder = tmp_path / name
        (folder / "wheels").mkdir(parents=True)
        (folder / "wheels/own-1.0-py3-none-any.whl").write_bytes(content)
        text = "dependencies:\n- pip:\n  - ./wheels/own-1.0-py3-none-any.whl\n"
        hashes.append(content_hash(EnvironmentSpec(conda_text=text, folder=folder)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hash_follows_the_meaning_not_the_text() -> None:
    a = EnvironmentSpec(conda_text="name: a\ndependencies: [python=3.12.1, numpy=2.3]\n")
    b = EnvironmentSpec(conda_text="# same\ndependencies:\n- python=3.12\n- numpy=2.3=py_0\n")
    c = EnvironmentSpec(conda_text="dependencies: [python=3.11, numpy=2.3]\n")
    assert content_hash(a) == content_hash(b) != content_hash(c)
    assert len(content_hash(a)) == 32


def test_no_environment_is_the_minimal_one() -> None:
    assert translate(EnvironmentSpec()).requirements == MINIMAL_REQUIREMENTS
    assert translate(EnvironmentSpec(python="3.10")).python == "3.10"


def test_two_descriptions_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="by one of"):
        translate(EnvironmentSpec(conda_text="name: x", requirements_text="six"))


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("azureml://registries/azureml/environments/sklearn-1.5/labels/latest", "sklearn-1.5"),
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/23", "sklearn-1.5"),
        (
            "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:1",
            "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu",
        ),
        (
            "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest",
            "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu",
        ),
        ("mcr.microsoft.com/azureml/minimal-py312-inference:latest", "minimal-py312-inference"),
        (
            "mcr.microsoft.com/azureml/curated/mlflow-py312-inference:latest",
            "mlflow-py312-inference",
        ),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04", "openmpi4.1.0-ubuntu20.04"),
        (
            "mcr.microsoft.com/azureml/curated/tensorflow-2.12-cuda11:latest",
            "tensorflow-2.12-cuda11",
        ),
        ("minimal-ubuntu22.04-py39-cpu-inference", "minimal-py39-inference"),
    ],
)
def test_a_curated_reference_is_known(reference: str, name: str) -> None:
    found = curated(reference)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "reference", ["", "my-env:1", "azureml:my-env@latest", "docker.io/library/python:3.12"]
)
def test_other_references_are_not_curated(reference: str) -> None:
    assert curated(reference) is None


def test_every_curated_environment_reads_as_requirements() -> None:
    names = [each.name for each in curated_environments()]
    assert len(names) == len(set(names))
    for each in curated_environments():
        text = "\n".join(each.requirements)
        assert translate_requirements(text, python=each.python).requirements == each.requirements
        assert each.description


@pytest.mark.parametrize(
    "text", ["x: &x [a]\ndependencies: *x", "dependencies: [{<<: {pip: [a]}}]"]
)
def test_anchors_that_could_make_a_file_grow_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="are not taken"):
        translate_conda(text)


def test_a_wrong_value_is_shown_in_part() -> None:
    with pytest.raises(UserError) as caught:
        translate_conda("dependencies: [" + "[x, " * 200 + "]" * 201)
    assert len(caught.value.message) < 300
