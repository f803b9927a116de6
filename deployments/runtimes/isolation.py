"""Who an instance runs as, and what it may read: one operating-system user per deployment when the portal is root."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

USERS = 40_000
CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
PROCESS_STATUS = Path("/proc/self/status")
USER_MAP = Path("/proc/self/uid_map")


@dataclass(frozen=True)
class Users:
    """Gives each owner (a deployment) its own user; where that is not possible, everyone is ourselves."""

    base: int

    @property
    def are_separate(self) -> bool:
        """True when we may become other users: root, with the rights, and the numbers exist in this namespace."""
        if os.geteuid() != 0:
            return False
        needed = 1 << CAP_CHOWN | 1 << CAP_SETGID | 1 << CAP_SETUID
        return _capabilities() & needed == needed and _maps(self.base + USERS - 1)

    def ids(self, owner: int) -> tuple[int, int]:
        """User and group of the owner's instances."""
        if not self.are_separate:
            return os.geteuid(), os.getegid()
        number = self.base + owner % USERS
        return number, number

    def grant(self, path: Path, owner: int) -> None:
        """Let the owner's instances, and no other's, read `path` and everything below it; may be repeated."""
        if not self.are_separate:
            return
        gid = self.ids(owner)[1]
        _grant_one(path, gid)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                _grant_one(Path(folder) / name, gid)

    def describe(self) -> str:
        if self.are_separate:
            last = self.base + USERS - 1
            return f"Each deployment runs as an operating-system user of its own ({self.base} to {last})."
        return "Every instance runs as the portal's own user: deploy only code you trust."


def unreachable_folder(path: Path, *, uid: int, gid: int) -> Path | None:
    """The first folder or file on the way to `path` that this user may not enter (or read), if any."""
    resolved = path.resolve()
    for step in (*reversed(resolved.parents), resolved):
        try:
            facts = step.stat()
        except OSError:
            return step
        wanted = 1 if stat.S_ISDIR(facts.st_mode) else 4
        if facts.st_uid == uid:
            wanted <<= 6
        elif facts.st_gid == gid:
            wanted <<= 3
        if not facts.st_mode & wanted:
            return step
    return None


def _grant_one(path: Path, gid: int) -> None:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1 and facts.st_mode & stat.S_IROTH:
        # A blob of the store, which other deployments link to as well: the folders around it are what is closed.
        return
    os.chown(path, -1, gid, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        path.chmod(0o750)
    else:
        path.chmod(0o750 if facts.st_mode & 0o100 else 0o640)


def _capabilities() -> int:
    for line in PROCESS_STATUS.read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _maps(number: int) -> bool:
    for line in USER_MAP.read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= number < first + count:
            return True
    return False
