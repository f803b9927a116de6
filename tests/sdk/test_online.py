"""The unmodified azure-ai-ml, in a Python of its own, against a running portal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import House

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_online.py")
FINISHED = """
from workspaces.models import UploadedFile
print(UploadedFile.objects.filter(metadata__upload_status="completed").count())
"""
# The first is asked of the installer as it stands; older ones need an older marshmallow (wire 15).
VERSIONS = {"1.35.2": [], "1.31.0": ["six"], "1.20.0": ["six", "marshmallow<3.23"]}


@pytest.fixture(params=VERSIONS)
def sdk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has this version of the SDK."""
    folder = tmp_path_factory.mktemp(f"sdk-{request.param}")
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run(
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True
    )
    wanted = [
        f"azure-ai-ml=={request.param}",
        "azure-identity",
        "setuptools<81",
        *VERSIONS[request.param],
    ]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


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
