"""Builds that run code nobody here wrote: as a user of their own, who owns nothing and has nothing running afterwards.

Installing wheels runs none of their code; building a package from source runs all of it. Whatever such a build can
write to must never be trusted, or walked by root by path, while one of its processes lives.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from deployments.environments import guard
from deployments.environments.uv_command import Uv

USERS = 50
"""So many numbers below the build user's; installations on one machine should not end each other's builds."""
END_SECONDS = 10.0
PAUSE_SECONDS = 0.02
LARGEST_LOCK_BYTES = 10_000_000


@contextmanager
def foreign_builds(uv: Uv, *own: Path) -> Iterator[Uv]:
    """uv as that user, who owns the trees `own` meanwhile; one at a time. Without root, uv as it is.

    Afterwards `own` is root's and nobody else may write there.
    """
    if uv.user_id is None:
        yield uv
        return
    user_id = foreign_user_id(uv.user_id, uv.root)
    place = uv.root / "foreign"
    guard_path = uv.root / "guards" / "foreign.lock"
    with guard.hold(guard_path, deadline=uv.deadline, cancel=uv.cancel):
        end_all_of(user_id)
        try:
            shutil.rmtree(place, ignore_errors=True)
            for folder in (place, place / "cache", place / "home"):
                folder.mkdir(mode=0o700)
            for tree in (place, *own):
                hand_over(tree, user_id)
            yield uv.of_user(user_id, place)
        finally:
            end_all_of(user_id)
            for tree in own:
                hand_over(tree, 0)
            shutil.rmtree(place, ignore_errors=True)


def foreign_user_id(build_user_id: int, root: Path) -> int:
    return build_user_id - 1 - zlib.crc32(os.fsencode(root)) % USERS


def end_all_of(user_id: int) -> None:
    """Kill until that user has no process left; raises TimeoutError when they do not end."""
    until = time.monotonic() + END_SECONDS
    while found := [process for process in psutil.process_iter() if _is_of(process, user_id)]:
        if time.monotonic() > until:
            raise TimeoutError(f"Processes of the build user {user_id} do not end.")
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(PAUSE_SECONDS)


def hand_over(tree: Path, user_id: int) -> None:
    """Make the tree that user's, with nothing in it for others to write; links are not followed."""
    if not tree.is_dir() or tree.is_symlink():
        return
    for _path, folders, files, descriptor in os.fwalk(tree, follow_symlinks=False):
        os.fchown(descriptor, user_id, user_id)
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o755)
        for name in (*folders, *files):
            facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            os.chown(name, user_id, user_id, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode):
                os.chmod(name, facts.st_mode & 0o755, dir_fd=descriptor)


def read_made(path: Path) -> str:
    """The text of a file that a build has made: never of one it only points to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        return file.read(LARGEST_LOCK_BYTES).decode("utf-8", "replace")


def _is_of(process: psutil.Process, user_id: int) -> bool:
    try:
        return user_id in process.uids() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
