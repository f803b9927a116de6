"""An MLflow model from its folder to its answers with the unmodified SDK: no script, no environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import House
from tests.sdk.conftest import NEWEST
from tests.sdk.test_data import drive

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_mlflow.py")


@pytest.mark.parametrize("sdk", [NEWEST], indirect=True)
def test_an_mlflow_model_needs_nothing_but_its_folder(
    house: House, sdk: Path, tmp_path: Path
) -> None:
    drive(house, sdk, DRIVE, tmp_path)
