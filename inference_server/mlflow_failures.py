"""Why an MLflow model could not be loaded, in words for its owner, with the way out.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from typing import Any

from inference_server.start_failure import CannotStart, evidence_of, missing_module, sentence

CODE = "ModelLoadFailed"
# What libraries call their version in MLmodel, and the package it is of.
VERSION_KEYS = {
    "sklearn_version": "scikit-learn",
    "xgb_version": "xgboost",
    "lgb_version": "lightgbm",
    "cb_version": "catboost",
    "pytorch_version": "torch",
    "keras_version": "keras",
    "onnx_version": "onnx",
    "statsmodels_version": "statsmodels",
    "cloudpickle_version": "cloudpickle",
}
UNTRUSTED = re.compile(r"[Uu]ntrusted types[^\[]*\[([^\]]*)\]")
# What unpickling raises when the libraries are not those that wrote the file.
PICKLE_ERRORS = (AttributeError, ImportError, TypeError, ValueError, KeyError, EOFError)


def cannot_load(error: BaseException, folder: str) -> CannotStart:
    """The failure of a model that would not load; MLflow's own words are the evidence."""
    evidence = evidence_of(error)
    missing = missing_module(error)
    if missing == "mlflow":
        return CannotStart(
            CODE,
            "The environment lacks mlflow, which loads the model. Leave environment out, so that the one of the "
            "model's own conda.yaml is used, or add mlflow-skinny to it",
            evidence,
        )
    if missing:
        return CannotStart(
            CODE,
            f"The model needs {missing}, which is not in the environment. Add it to the conda.yaml or "
            "requirements.txt beside MLmodel and register the model again, or give an environment with it",
            evidence,
        )
    untrusted = UNTRUSTED.search(str(error))
    if untrusted or type(error).__name__ == "UntrustedTypesFoundException":
        named = untrusted.group(1).strip() if untrusted else "types of your own"
        return CannotStart(
            CODE,
            f"The model holds types that skops does not trust: {named[:300]}. Save it again with "
            "mlflow.sklearn.save_model(..., skops_trusted_types=[...]) naming those you trust",
            evidence,
        )
    apart = differences(folder)
    if apart and isinstance(error, PICKLE_ERRORS):
        return CannotStart(
            CODE,
            f"The model was saved with {_and([one[0] for one in apart])}, and the environment has "
            f"{_and([one[1] for one in apart])}: {sentence(error)}. Pin what it was saved with in its conda.yaml, or "
            "save it again",
            evidence,
        )
    return CannotStart(CODE, f"The model could not be loaded: {sentence(error)}", evidence)


def cannot_run(error: BaseException) -> CannotStart:
    """A model that loads, and whose description makes no sense here."""
    missing = missing_module(error)
    if missing:
        return CannotStart(
            CODE,
            f"Serving a model takes {missing}, which is not in the environment. Add it to the conda.yaml beside "
            "MLmodel, or to the environment",
            evidence_of(error),
        )
    return CannotStart(
        CODE, f"The model's signature could not be read: {sentence(error)}", evidence_of(error)
    )


def differences(folder: str) -> list[tuple[str, str]]:
    """`(saved with, there now)` of Python and libraries that MLmodel names in another version."""
    found = []
    for flavor in _flavors(folder).values():
        if not isinstance(flavor, dict):
            continue
        saved = str(flavor.get("python_version") or "")
        own = platform.python_version()
        if saved and saved.split(".")[:2] != own.split(".")[:2]:
            found.append((f"Python {saved}", f"Python {own}"))
        for key, package in VERSION_KEYS.items():
            saved = str(flavor.get(key) or "")
            there = _installed(package)
            if saved and there != saved:
                found.append((f"{package} {saved}", f"{package} {there}" if there else "none"))
    return list(dict.fromkeys(found))[:4]


def _flavors(folder: str) -> dict[str, Any]:
    yaml: Any = sys.modules.get("yaml")
    try:
        with open(os.path.join(folder, "MLmodel"), encoding="utf-8") as file:
            found = yaml.safe_load(file) if yaml is not None else {}
    except Exception:
        return {}
    flavors = found.get("flavors") if isinstance(found, dict) else None
    return flavors if isinstance(flavors, dict) else {}


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _and(parts: list[str]) -> str:
    return " and ".join(parts)
