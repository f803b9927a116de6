"""`docs/sdk.md` is run as it stands: its shell lines, then its programs, with the unmodified SDK."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.house import House
from tests.sdk.conftest import NEWEST

pytestmark = pytest.mark.sdk

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()
SHELL, SESSION, KEYWORDS = "sh", "python session", "python keywords"
# What a reader puts in: three facts of their own installation.
URL, TOKEN = "https://localhost:8443", "ptc_…"
AUTHORITY = "$HOME/.local/share/portico/certificates/ca.pem"
SECONDS = 600


def block(kind: str) -> str:
    """The last block of that kind on the page."""
    found = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)
    assert found, f"docs/sdk.md has no block '{kind}'"
    return str(found[-1])


def run(house: House, sdk: Path, folder: Path, kind: str, *, without: tuple[str, ...] = ()) -> str:
    """One program of the page after its shell lines, but for the variables it is to do without."""
    lines = block(SHELL)
    for theirs, ours in (
        (URL, house.tls_url),
        (TOKEN, house.admin_token),
        (AUTHORITY, str(house.ca_path)),
    ):
        assert theirs in lines
        lines = lines.replace(theirs, ours)
    lines += "".join(f"unset {name}\n" for name in without)
    program = folder / "program.py"
    program.write_text(block(kind))
    done = subprocess.run(
        ["bash", "-c", f'{lines}exec "$0" -W ignore "$1"', sdk, program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return done.stdout


@pytest.mark.parametrize("sdk", [NEWEST], indirect=True)
def test_the_session_of_the_page(house: House, sdk: Path, tmp_path: Path) -> None:
    assert run(house, sdk, tmp_path, SESSION).strip().endswith("all done")


@pytest.mark.parametrize("sdk", [NEWEST], indirect=True)
def test_the_client_that_is_told_by_keywords(house: House, sdk: Path, tmp_path: Path) -> None:
    told = run(house, sdk, tmp_path, KEYWORDS, without=("ARM_CLOUD_METADATA_URL",))
    assert told.strip() == "['main']"
