"""Copies of program folders that every user of the machine may enter, made at most once each.

A portal started by root often finds its interpreters and servers below a 0700 home; what runs as
another user needs them elsewhere. Standard library only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

READ_BY_OTHERS = stat.S_IROTH
ENTER_BY_OTHERS = stat.S_IXOTH


def is_reachable_by_others(path: Path) -> bool:
    """Whether a user without rights of their own can open `path` (and enter or execute it, where
    it is either).
    """
    try:
        place = path.resolve(strict=True)
        mode = place.stat().st_mode
        parents = [parent.stat().st_mode for parent in place.parents]
    except OSError:
        return False
    needed = READ_BY_OTHERS | (ENTER_BY_OTHERS if mode & stat.S_IXUSR else 0)
    return mode & needed == needed and all(mode & ENTER_BY_OTHERS for mode in parents)


def stage_tree(
    source: Path,
    target: Path,
    *,
    skip: Callable[[Path], bool] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> Path:
    """Make `target` a copy of the folder `source` that everyone may read and nobody but the owner
    may write.

    Files are hard links where that is possible, so never write to one: replace it. `skip` gets
    paths relative to `source`; `prepare` gets the finished copy before it takes its name. The name
    appears at once or not at all: a second call returns, a call that races another loses nothing,
    a killed one leaves only a hidden folder that the next call sweeps.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    draft = target.parent / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.staging"
    try:
        _copy_folder(source, draft, source.resolve(strict=True), skip)
        if prepare is not None:
            prepare(draft)
        os.rename(draft, target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _copy_folder(
    source: Path, target: Path, root: Path, skip: Callable[[Path], bool] | None
) -> None:
    target.mkdir(mode=0o755)
    target.chmod(0o755)
    with os.scandir(source) as entries:
        for entry in entries:
            path = Path(entry.path)
            if skip is not None and skip(Path(os.path.relpath(path, root))):
                continue
            copy = target / entry.name
            if entry.is_symlink():
                _copy_link(path, copy, root)
            elif entry.is_dir():
                _copy_folder(path, copy, root, skip)
            elif entry.is_file():
                _link_or_copy(path, copy)


def _copy_link(link: Path, copy: Path, root: Path) -> None:
    """Keep a link that stays in the tree, make an absolute one relative, and take what an outside
    one points to.
    """
    try:
        end = link.resolve(strict=True)
    except OSError:
        return
    if end.is_relative_to(root):
        aim = os.readlink(link)
        place = link.parent.resolve()
        copy.symlink_to(os.path.relpath(end, place) if os.path.isabs(aim) else aim)
    elif end.is_file():
        _link_or_copy(end, copy)


def _link_or_copy(source: Path, copy: Path) -> None:
    mode = source.stat().st_mode
    wanted = 0o755 if mode & stat.S_IXUSR else 0o644
    if mode & 0o022 == 0 and mode & wanted & 0o055 == wanted & 0o055:
        try:
            os.link(source, copy, follow_symlinks=False)
        except OSError:
            pass  # another filesystem, or one without hard links
        else:
            return
    shutil.copyfile(source, copy)
    copy.chmod(wanted)


def _sweep(target: Path) -> None:
    """Remove what killed calls left: drafts whose process is gone."""
    for draft in target.parent.glob(f".{target.name}.*.staging"):
        owner = draft.name.removeprefix(f".{target.name}.").split(".")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(draft, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
