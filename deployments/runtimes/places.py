"""Where an instance of the process runtime keeps things, and whether its socket answers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 1
PROBE = b"GET / HTTP/1.1\r\nHost: instance\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Place:
    """Every path of one instance."""

    root: Path
    run_dir: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def status(self) -> Path:
        return self.state / "status.json"

    @property
    def temporary(self) -> Path:
        return self.state / "tmp"

    @property
    def socket_folder(self) -> Path:
        # A socket's path may have 107 bytes, a name 200.
        return self.run_dir / hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def socket(self) -> Path:
        return self.socket_folder / "http.sock"

    @property
    def address(self) -> Path:
        return self.run_dir / f"{self.socket_folder.name}.sock"

    def guardian_pid(self) -> int | None:
        """The process that guards the instance, or did."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.folder / "guardian.lock").read_text())
        return None


def answers(path: Path) -> bool:
    """Whether `GET /` over the socket gives 200 in time."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PROBE_SECONDS)
        connection.connect(str(path))
        connection.sendall(PROBE)
        return b" 200 " in connection.recv(64)[:16]
    return False


def publish(place: Place, *, uid: int) -> bool:
    """Give the socket a second name in our own folder: in its own, the instance could swap it for a link to any other.

    False when what is there is not a socket of that user.
    """
    with contextlib.suppress(FileNotFoundError):
        if place.address.lstat().st_ino == place.socket.lstat().st_ino:
            return True
    fresh = place.address.with_suffix(f".{secrets.token_hex(4)}")
    try:
        os.link(place.socket, fresh, follow_symlinks=False)
        facts = fresh.lstat()
        if not stat.S_ISSOCK(facts.st_mode) or facts.st_uid != uid:
            return False
        fresh.replace(place.address)
    except FileNotFoundError:
        return False
    finally:
        fresh.unlink(missing_ok=True)
    return True
