"""Mending an environment's text: the package is added where it belongs, and what was there stays."""

from __future__ import annotations

import pytest
import yaml

from deployments.environments.amending import (
    as_conda,
    package_of,
    with_python,
    with_requirement,
)
from deployments.environments.conda import translate_conda, translate_requirements
from workspaces.errors import UserError

CONDA = """\
name: churn
channels: [conda-forge]
dependencies:
  - python=3.10
  - numpy=2.1
  - pip
  - pip:
      - scikit-learn==1.0
      - joblib
"""


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("xgboost", "xgboost"),
        ("sklearn.linear_model", "scikit-learn"),
        ("cv2", "opencv-python-headless"),
        ("PIL", "pillow"),
        ("google.protobuf", "protobuf"),
        ("sentence_transformers", "sentence-transformers"),
        ("a b; rm", ""),
        ("", ""),
    ],
)
def test_a_module_names_its_package(module: str, package: str) -> None:
    assert package_of(module) == package


def test_a_package_is_added_to_the_pip_part() -> None:
    mended = translate_conda(with_requirement(CONDA, "xgboost", is_conda=True))
    assert mended.python == "3.10"
    assert {"xgboost", "joblib", "scikit-learn==1.0"} <= set(mended.requirements)


def test_a_pin_replaces_the_line_of_the_same_package_in_both_parts() -> None:
    text = with_requirement(CONDA, "numpy<2", is_conda=True)
    mended = translate_conda(text)
    assert [line for line in mended.requirements if line.startswith("numpy")] == ["numpy<2"]
    assert yaml.safe_load(text)["channels"] == ["conda-forge"]
    text = with_requirement(CONDA, "scikit_learn==1.5", is_conda=True)
    assert "scikit-learn==1.0" not in text


def test_condas_own_name_of_a_package_is_understood() -> None:
    text = "dependencies: [python=3.11, pytorch=2.2]"
    mended = translate_conda(with_requirement(text, "torch==2.3", is_conda=True))
    assert [line for line in mended.requirements if "torch" in line] == ["torch==2.3"]


def test_a_file_without_a_pip_part_gets_one() -> None:
    text = with_requirement("dependencies: [python=3.11, numpy]", "xgboost", is_conda=True)
    assert yaml.safe_load(text)["dependencies"] == [
        "python=3.11",
        "numpy",
        "pip",
        {"pip": ["xgboost"]},
    ]


def test_pip_requirements_keep_their_comments() -> None:
    text = with_requirement("# ours\nnumpy==2\njoblib\n", "numpy<2", is_conda=False)
    assert text == "# ours\njoblib\nnumpy<2\n"


def test_another_python_replaces_the_first() -> None:
    mended = with_python(CONDA, "3.12")
    assert translate_conda(mended).python == "3.12"
    assert "3.10" not in mended
    assert "python-dateutil" in with_python("dependencies: [python-dateutil]", "3.11")


def test_requirements_become_a_conda_file_that_means_the_same() -> None:
    asked = translate_requirements("numpy==2.1\nxgboost\n")
    assert set(translate_conda(as_conda(asked.requirements, "3.11")).requirements) == set(
        asked.requirements
    )


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("[", "numpy"),
        ("- a list", "numpy"),
        ("dependencies: 3", "numpy"),
        ("dependencies: [" * 1000, "numpy"),
        (CONDA, "not a; thing"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, requirement: str) -> None:
    with pytest.raises(UserError):
        with_requirement(text, requirement, is_conda=True)


def test_a_python_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="not a Python version"):
        with_python(CONDA, "3.11\n- evil")
