"""Client commands in a folder of their own, with nobody signed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import profiles
from cli.profiles import Profile, Profiles

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where profiles and defaults of this test are."""
    folder = tmp_path / "dot-portico"
    monkeypatch.setenv(profiles.FOLDER_VARIABLE, str(folder))
    for name in (profiles.PROFILE_VARIABLE, "PORTICO_TOKEN", "PORTICO_URL"):
        monkeypatch.delenv(name, raising=False)
    # A configuration of the folder the tests run in would count, too.
    monkeypatch.chdir(tmp_path)
    return folder


def sign_in(name: str = "here", subscription: str = SUBSCRIPTION) -> Profile:
    """A profile as `login` leaves it, in use."""
    profile = Profile(
        name,
        f"https://{name}:8443",
        "ptc_secret",
        subscription=subscription,
        subscriptions=(subscription,),
        resource_group="portico",
        workspace="main",
    )
    known: Profiles = profiles.read()
    profiles.write(known.with_profile(profile))
    return profile
