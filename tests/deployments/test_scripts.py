"""Looking at a script without running it."""

from __future__ import annotations

import pytest

from deployments.scripts import read_script, unmet_imports

GOOD = "import json\nimport joblib\ndef init(): pass\ndef run(data): return data\n"


def test_a_script_with_both_functions_lacks_nothing() -> None:
    assert read_script(GOOD).lacks == []


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("def init(): pass", ["run"]),
        ("", ["init", "run"]),
        ("from other import init, run", []),
        ("from other import *", []),
        ("import other\ninit = other.init\nrun = other.run", []),
        ("if True:\n    def init(): pass\ntry:\n    def run(x): pass\nexcept Exception: pass", []),
        ("class A:\n    def init(self): pass\n    def run(self): pass", ["init", "run"]),
        ("init, run = make()", []),
        ("async def run(x): pass\ninit: object = None", []),
    ],
)
def test_what_is_bound_at_the_top_counts(source: str, lacks: list[str]) -> None:
    assert read_script(source).lacks == lacks


def test_a_module_that_no_package_brings_is_named_with_its_package() -> None:
    script = read_script(
        "import os, cv2\nimport helper\nfrom sklearn.svm import SVC\nimport xgboost.core"
    )
    assert unmet_imports(script, ["scikit-learn==1.7.2", "numpy"], ["helper.py", "sub/x.py"]) == [
        ("cv2", "opencv-python-headless"),
        ("xgboost", "xgboost"),
    ]


def test_imports_inside_functions_and_relative_ones_are_left_alone() -> None:
    script = read_script("from . import x\ndef run(d):\n    import torch\n")
    assert unmet_imports(script, []) == []


def test_a_script_that_is_no_python_raises() -> None:
    with pytest.raises(SyntaxError):
        read_script("def run(:")


@pytest.mark.parametrize(
    "source", ["-" * 100_000 + "1", "a" + ".b" * 100_000, "not " * 50_000 + "1"]
)
def test_a_script_nested_too_deeply_is_a_syntax_error(source: str) -> None:
    with pytest.raises(SyntaxError, match="nested too deeply"):
        read_script(source)


def test_a_script_too_large_to_be_looked_at_lacks_nothing() -> None:
    assert read_script("x = 1\n" * 100_000).lacks == []
