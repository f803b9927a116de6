"""Pythons of their own that have the SDK, one for each version under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The first is asked of the installer as it stands; older ones need an older marshmallow (wire 15).
VERSIONS: dict[str, list[str]] = {
    "1.35.2": [],
    "1.31.0": ["six"],
    "1.20.0": ["six", "marshmallow<3.23"],
}

NEWEST = next(iter(VERSIONS))


@pytest.fixture(params=VERSIONS, scope="session")
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
