"""What config.pbtxt says of an ONNX model is compared with the model before anybody asks it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from inference_server.v2_config import ConfigError, ModelConfig, TensorSpec
from inference_server.v2_onnx import check_told

FLOAT = "tensor(float)"


def told(
    dims: list[int],
    shape: list[Any],
    *,
    batch: int = 0,
    datatype: str = "FP32",
    reshape: list[int] | None = None,
) -> None:
    spec = TensorSpec("x", datatype, dims, reshape=reshape)
    real = SimpleNamespace(name="x", type=FLOAT, shape=shape)
    check_told("input", [spec], [real], ModelConfig("m", {}, max_batch_size=batch))


@pytest.mark.parametrize(
    ("dims", "shape", "batch"),
    [
        ([2, 3], [2, 3], 0),
        ([-1, 3], ["rows", 3], 0),
        ([2, -1], [None, 3], 0),
        ([3], ["rows", 3], 8),
        ([3], [1, 3], 1),
        ([3], [], 8),
    ],
)
def test_shapes_that_meet_are_taken(dims: list[int], shape: list[Any], batch: int) -> None:
    told(dims, shape, batch=batch)
    told([9], shape, batch=batch, reshape=dims)


@pytest.mark.parametrize(
    ("dims", "shape", "batch", "words"),
    [
        ([3], ["rows", 2], 8, r"shape \[-1, 2\] in the model and \[-1, 3\] .* with the batch"),
        ([2], ["rows", 2], 0, r"shape \[-1, 2\] in the model and \[2\] in config.pbtxt"),
        ([2], [1, 2], 8, "takes batches of 1 alone, and max_batch_size is 8"),
    ],
)
def test_a_shape_that_the_model_does_not_have_is_named(
    dims: list[int], shape: list[Any], batch: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        told(dims, shape, batch=batch)


def test_another_type_or_name_is_named() -> None:
    with pytest.raises(ConfigError, match="is FP32 in the model and INT64"):
        told([2], [2], datatype="INT64")
    with pytest.raises(ConfigError, match="those of the model: y"):
        real = SimpleNamespace(name="y", type=FLOAT, shape=[2])
        check_told("input", [TensorSpec("x", "FP32", [2])], [real], ModelConfig("m", {}))
