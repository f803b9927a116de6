"""Where the user signed in: addresses, tokens and pinned authorities, in files that only the user can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cli.faults import UsageFault

FOLDER_VARIABLE = "PORTICO_CONFIG_DIR"
PROFILE_VARIABLE = "PORTICO_PROFILE"


def folder() -> Path:
    """`~/.portico`, unless PORTICO_CONFIG_DIR names another."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".portico")


@dataclass(frozen=True)
class Profile:
    """One portal, and as whom."""

    name: str
    url: str
    """Such as `https://localhost:8443`, without a slash at its end."""
    token: str = field(repr=False)
    fingerprint: str = ""
    """SHA-256 of the pinned authority in upper-case hex with colons; empty when the system's authorities vouch."""
    subscription: str = ""
    subscriptions: tuple[str, ...] = ()
    """All that the portal named at sign-in."""
    resource_group: str = ""
    workspace: str = ""

    @property
    def ca_path(self) -> Path | None:
        """The only authority to trust, as a PEM file."""
        if not self.fingerprint:
            return None
        return folder() / "authorities" / f"{self.fingerprint.replace(':', '').lower()}.pem"


@dataclass(frozen=True)
class Profiles:
    """All of them, and the one in use."""

    current: str = ""
    all: tuple[Profile, ...] = ()

    def find(self, name: str) -> Profile | None:
        return next((profile for profile in self.all if profile.name == name), None)

    def with_profile(self, profile: Profile) -> Profiles:
        """The same with this one added or replaced, and in use."""
        others = tuple(one for one in self.all if one.name != profile.name)
        return Profiles(profile.name, (*others, profile))

    def without(self, names: Iterable[str]) -> Profiles:
        gone = set(names)
        left = tuple(one for one in self.all if one.name not in gone)
        current = self.current if self.current not in gone else ""
        return Profiles(current or (left[0].name if left else ""), left)

    def using(self, name: str) -> Profiles:
        return replace(self, current=name)


def read() -> Profiles:
    """`UsageFault` for a file that was damaged."""
    path = _path()
    try:
        stored = json.loads(path.read_text())
        profiles = tuple(_profile(name, values) for name, values in stored["profiles"].items())
        return Profiles(stored.get("current", ""), profiles)
    except FileNotFoundError:
        return Profiles()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageFault(
            f"{path} cannot be read ({error}). Remove it and sign in again with 'portico login'."
        ) from error


def write(profiles: Profiles) -> None:
    """In one step; readable for its owner only from the first moment."""
    told: dict[str, Any] = {"current": profiles.current, "profiles": {}}
    for profile in profiles.all:
        values = asdict(profile)
        told["profiles"][values.pop("name")] = values
    write_private(_path(), json.dumps(told, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def current(name: str = "") -> Profile:
    """The one of that name, else of PORTICO_PROFILE, else the one in use; `UsageFault` when there is none."""
    profiles = read()
    wanted = name or os.environ.get(PROFILE_VARIABLE, "") or profiles.current
    found = profiles.find(wanted)
    if found is not None:
        return found
    if not profiles.all:
        raise UsageFault(
            "You are not signed in. 'portico login --url https://<host>:8443' does that; the studio makes the "
            "token under Account, Access tokens."
        )
    names = ", ".join(f"'{profile.name}'" for profile in profiles.all)
    raise UsageFault(f"There is no profile '{wanted}'. There is {names}.")


def _path() -> Path:
    return folder() / "profiles.json"


def _profile(name: str, values: dict[str, Any]) -> Profile:
    known = {key: value for key, value in values.items() if key in Profile.__dataclass_fields__}
    known["subscriptions"] = tuple(known.get("subscriptions", ()))
    return Profile(name=name, **known)
