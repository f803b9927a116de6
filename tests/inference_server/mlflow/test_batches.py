"""When the rows of several requests may share a call: only where no row's answer depends on the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inference_server.mlflow_batches import joined, part, scores_by_row
from inference_server.mlflow_signature import Signature
from inference_server.settings import read_settings

pd = pytest.importorskip("pandas")

NUMBERS = [{"type": "double", "name": "a"}, {"type": "long", "name": "b"}]
WORDS = [*NUMBERS, {"type": "string", "name": "c"}]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
OPEN = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, -1]}}]


def total(rows: Any) -> Any:
    return np.asarray(rows).sum(axis=1)


def by_name(rows: Any) -> Any:
    return pd.DataFrame({"twice": rows["a"] * 2})


def from_the_mean(rows: Any) -> Any:
    return total(rows) - total(rows).mean()


def one_number(rows: Any) -> Any:
    return float(np.asarray(rows).sum())


def only_many(rows: Any) -> Any:
    if len(rows) < 2:
        raise ValueError("one row is not enough")
    return total(rows)


CASES: list[tuple[Callable[[Any], Any], list[dict[str, Any]], bool, bool]] = [
    (total, NUMBERS, True, True),
    (total, NUMBERS, False, True),
    (total, TENSOR, False, True),
    (by_name, NUMBERS, False, True),
    (from_the_mean, NUMBERS, True, False),
    (one_number, NUMBERS, True, False),
    (only_many, NUMBERS, True, False),
    (total, WORDS, False, False),
    (total, OPEN, False, False),
]


@pytest.mark.parametrize(("predict", "inputs", "as_array", "may"), CASES, ids=range(len(CASES)))
def test_rows_share_a_call_only_where_it_was_seen_to_change_nothing(
    predict: Callable[[Any], Any], inputs: list[dict[str, Any]], as_array: bool, may: bool
) -> None:
    assert scores_by_row(predict, Signature(inputs), as_array=as_array) is may


def test_what_was_joined_is_taken_apart_again() -> None:
    arrays = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])]
    assert part(joined(arrays), 1, 3).tolist() == arrays[1].tolist()
    frames = [pd.DataFrame(one, columns=["a", "b"]) for one in arrays]
    assert part(joined(frames), 0, 1).to_numpy().tolist() == arrays[0].tolist()


def test_a_model_without_code_has_micro_batches_only_where_they_are_asked_for() -> None:
    served = {"AZUREML_MODEL_DIR": "/models", "MLFLOW_MODEL_FOLDER": "model"}
    assert read_settings([], served).max_batch == 1
    assert read_settings([], {**served, "PORTICO_MAX_BATCH": "16"}).max_batch == 16
    assert read_settings(["--entry_script", "score.py"], {}).max_batch == 32
