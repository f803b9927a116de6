"""The unmodified azure-ai-ml, in a Python of its own, against a running portal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.house import House

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_online.py")
FINISHED = """
from workspaces.models import UploadedFile
print(UploadedFile.objects.filter(metadata__upload_status="completed").count())
"""


def test_online_endpoints_from_local_folders(house: House, sdk: Path, tmp_path: Path) -> None:
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
    # Without its mark the SDK would upload the same content each time.
    assert int(house.run("shell", "-c", FINISHED).stdout.split()[-1]) > 0
