"""Data, components and datastores with the unmodified SDK; and everything once more with the storage in a bucket."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bucket import serve
from tests.house import House
from tests.sdk.test_online import DRIVE as DRIVE_ONLINE

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_data.py")
IN_THE_BUCKET = """
from workspaces.shelf import shelf
print(len(list(shelf().walk("blobs"))))
"""


def drive(house: House, python: Path, script: Path, folder: Path) -> None:
    environment = {
        **os.environ,
        "REQUESTS_CA_BUNDLE": str(house.ca_path),
        "IDENTITY_ENDPOINT": f"{house.tls_url}/identity/token",
        "IDENTITY_HEADER": house.admin_token,
    }
    done = subprocess.run(
        [python, "-W", "ignore", script, f"{house.tls_url}/", folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert done.stdout.strip().splitlines()[-1] == "all done"


# Version 1.20.0 takes a SAS token for no credentials at all.
@pytest.mark.parametrize("sdk", ["1.35.2", "1.31.0"], indirect=True)
def test_data_components_and_datastores(house: House, sdk: Path, tmp_path: Path) -> None:
    drive(house, sdk, DRIVE, tmp_path)


@pytest.mark.parametrize("sdk", ["1.35.2"], indirect=True)
def test_everything_from_upload_to_score_with_the_storage_in_a_bucket(
    sdk: Path, tmp_path: Path
) -> None:
    with serve(tmp_path / "s3.log") as s3, House(variables=s3.variables) as house:
        drive(house, sdk, DRIVE_ONLINE, tmp_path / "online")
        drive(house, sdk, DRIVE, tmp_path / "data")
        assert int(house.run("shell", "-c", IN_THE_BUCKET).stdout.split()[-1]) > 5
        assert house.home is not None
        assert not (house.home / "storage" / "blobs").exists()
