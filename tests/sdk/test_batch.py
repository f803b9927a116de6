"""Computes, batch endpoints and batch deployments with the unmodified azure-ai-ml against a running portal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.house import House

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_batch.py")


@pytest.mark.parametrize("sdk", ["1.35.2", "1.31.0"], indirect=True)
def test_computes_and_batch_endpoints(house: House, sdk: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "REQUESTS_CA_BUNDLE": str(house.ca_path),
        "IDENTITY_ENDPOINT": f"{house.tls_url}/identity/token",
        "IDENTITY_HEADER": house.admin_token,
    }
    done = subprocess.run(
        [sdk, "-W", "ignore", DRIVE, f"{house.tls_url}/", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert done.stdout.strip().splitlines()[-1] == "all done"
