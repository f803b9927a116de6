"""Programs of this machine with all they need, packed so that they run inside any Linux image."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from uv import find_uv_bin

INSIDE = "/opt/portico-build"
"""Where the builder's own things are during a build. It is a volume: nothing in it becomes part of an image."""
LIST_SECONDS = 60
_LISTED = re.compile(r"^\s+(?:\S+ => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$")


def needed_by(programs: Iterable[Path]) -> dict[str, Path]:
    """Shared libraries and the loader of all of them, by the path under which each is looked for."""
    wanted = [str(program) for program in programs]
    found: dict[str, Path] = {}
    if not wanted:
        return found
    listed = subprocess.run(
        ["ldd", *wanted],
        capture_output=True,
        text=True,
        timeout=LIST_SECONDS,
        check=False,  # one that is no program of ours tells nothing about the others
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    ).stdout
    for line in listed.splitlines():
        match = _LISTED.match(line)
        if match:
            path = Path(match["path"])
            found[os.path.join(os.path.realpath(path.parent), path.name)] = path.resolve()
    return found


def toolbox() -> tuple[bytes, list[str]]:
    """A tar of uv, a shell and `sleep` for `INSIDE`, and what any of them is started with."""
    programs = {"uv": Path(find_uv_bin()), "sh": Path("/bin/sh"), "sleep": _program("sleep")}
    libraries = needed_by(programs.values())
    loader = next((path for path in libraries if is_loader(path)), None)
    if loader is None:
        raise OSError("ldd names no dynamic loader on this machine, so uv cannot run in images.")
    files = {f"lib/{Path(path).name}": real for path, real in libraries.items()}
    files |= {f"bin/{name}": path.resolve() for name, path in programs.items()}
    start = [f"{INSIDE}/lib/{Path(loader).name}", "--library-path", f"{INSIDE}/lib"]
    return packed(files, folders=("home", "work", "cache")), start


def started(start: list[str], program: str, *arguments: str) -> list[str]:
    """The command line of one of the tools inside."""
    return [*start, f"{INSIDE}/bin/{program}", *arguments]


def packed(
    files: Mapping[str, Path | bytes],
    *,
    folders: Iterable[str] = (),
    links: Mapping[str, str] | None = None,
) -> bytes:
    """A tar of files by their name inside, all root's and readable for everyone; folders are made as needed."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, path in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, path, 0o777
            tar.addfile(entry)
        seen: set[str] = set()
        for folder in folders:
            _add_folder(tar, PurePosixPath(folder), seen)
        for name, content in sorted(files.items()):
            _add_folder(tar, PurePosixPath(name).parent, seen)
            _add_file(tar, name, content)
    return target.getvalue()


def packed_tree(folder: Path, name: str) -> bytes:
    """A tar of a folder under another name."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.add(folder, arcname=name, filter=_as_root)
    return target.getvalue()


def is_loader(path: str) -> bool:
    return Path(path).name.startswith(("ld-linux", "ld-musl", "ld64", "ld.so"))


def _add_folder(tar: tarfile.TarFile, folder: PurePosixPath, seen: set[str]) -> None:
    for part in [*reversed(folder.parents), folder]:
        if str(part) not in {".", "/"} and str(part) not in seen:
            seen.add(str(part))
            entry = tarfile.TarInfo(str(part))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if str(part) == "tmp" else 0o755
            tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        entry.size, entry.mode = len(content), 0o644
        tar.addfile(entry, io.BytesIO(content))
        return
    facts = content.stat()
    entry.size, entry.mtime = facts.st_size, int(facts.st_mtime)
    entry.mode = 0o755 if facts.st_mode & 0o111 else 0o644
    with content.open("rb") as stream:
        tar.addfile(entry, stream)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    return entry


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise OSError(f"There is no '{name}' on this machine, which image builds need.")
    return Path(found)
