"""A model that will not load is explained: the package, the version or the type that is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from inference_server.mlflow_failures import cannot_load

UNTRUSTED = "Untrusted types found in the file: ['__main__.Mine', 'other.Thing']."
CASES: list[tuple[BaseException, tuple[str, ...]]] = [
    (ModuleNotFoundError("no", name="mlflow.pyfunc"), ("lacks mlflow", "mlflow-skinny")),
    (ModuleNotFoundError("no", name="lightgbm"), ("needs lightgbm", "conda.yaml")),
    (ValueError(UNTRUSTED), ("__main__.Mine", "skops_trusted_types")),
    (AttributeError("no such attribute"), ("Python 2.7.1", "PyYAML", "AttributeError")),
    (OSError("disk"), ("could not be loaded", "disk")),
]


@pytest.mark.parametrize(("error", "words"), CASES, ids=range(len(CASES)))
def test_the_way_out_is_told(
    error: BaseException, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavor = {"python_version": "2.7.1", "yaml_version": "0.1"}
    described = {"flavors": {"python_function": flavor}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(described))
    monkeypatch.setattr(
        "inference_server.mlflow_failures.VERSION_KEYS", {"yaml_version": "PyYAML"}
    )
    failure = cannot_load(error, str(tmp_path))
    assert failure.code == "ModelLoadFailed"
    assert all(word in failure.message for word in words), failure.message
