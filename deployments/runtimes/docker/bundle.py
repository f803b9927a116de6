"""The inference server for containers: it brings its own interpreter, loader and libraries, so any Linux image will do.

    <folder>/<hash>/lib/       the dynamic loader, and every shared library that the rest needs
    <folder>/<hash>/python/    interpreter and standard library
    <folder>/<hash>/server/    the inference server (`server_bundle`)

Mounted at `INSIDE`, it is started by its own loader, which is told where its libraries are. Nothing of that reaches
the workers: they are started by their own interpreter, with the image's loader.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import platform
import py_compile
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from workspaces.trees import stage_tree

INSIDE = "/opt/portico"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What a server never imports; the folder with the static library alone is 40 MB.
LEFT_OUT = re.compile(
    r"site-packages|dist-packages|test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|config-.*|pydoc_data|_tkinter.*|_test.*|xxlimited.*|__pycache__"
)
DYNAMIC = re.compile(r"^\s*(?P<name>\S+)(?: => (?P<path>/\S+))? \(0x[0-9a-f]+\)$")
LIST_SECONDS = 30


def lay_out(folder: Path, server: Path) -> Path:
    """Make `folder/<content hash>`, whole or not at all, around the server laid out in `server`."""
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    facts = (
        f"{server.name} {sys.version} {platform.machine()} {python} {python.stat().st_mtime_ns}"
    )
    target = folder / hashlib.sha256(facts.encode()).hexdigest()[:24]
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{target.name}.{secrets.token_hex(4)}"
    draft.mkdir()
    try:
        _copy_python(python, draft / "python")
        stage_tree(server, draft / "server")
        _copy_libraries(draft)
        draft.chmod(0o755)
        draft.rename(target)
    except OSError:
        # Somebody else was faster, or it really failed.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def command(bundle: Path) -> list[str]:
    """What starts the server inside a container that has the bundle at `INSIDE`; its flags follow."""
    loader = next(path.name for path in (bundle / "lib").iterdir() if _is_loader(path.name))
    return [
        f"{INSIDE}/lib/{loader}",
        "--library-path",
        f"{INSIDE}/lib",
        f"{INSIDE}/python/bin/{VERSION}",
        "-I",
        f"{INSIDE}/server",
    ]


def _copy_python(python: Path, target: Path) -> None:
    library = target / sys.platlibdir / VERSION
    standard = Path(sysconfig.get_path("stdlib", vars=_base_variables()))
    stage_tree(standard, library, skip=_is_left_out)
    (target / "bin").mkdir(mode=0o755)
    shutil.copyfile(python, target / "bin" / VERSION)
    for folder in (target, target / "bin", target / sys.platlibdir):
        folder.chmod(0o755)
    (target / "bin" / VERSION).chmod(0o755)
    # Nobody can write bytecode into it later.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(library, quiet=2, invalidation_mode=mode)
    for place, folders, files in os.walk(library):
        if place.endswith("__pycache__"):
            for name in files:
                (Path(place) / name).chmod(0o644)
        for name in folders:
            (Path(place) / name).chmod(0o755)


def _base_variables() -> dict[str, str]:
    """Not those of the virtual environment that we may run in."""
    return {"base": sys.base_prefix, "installed_base": sys.base_prefix}


def _is_left_out(path: Path) -> bool:
    return any(LEFT_OUT.fullmatch(part) for part in path.parts)


def _copy_libraries(draft: Path) -> None:
    target = draft / "lib"
    target.mkdir(mode=0o755)
    target.chmod(0o755)
    for library in _needed_by(_programs(draft)):
        copy = target / library.name
        if not copy.exists():
            shutil.copyfile(library, copy)
            copy.chmod(0o755)
    if not any(_is_loader(path.name) for path in target.iterdir()):
        raise OSError(
            "ldd tells no dynamic loader for this Python: the docker runtime cannot bring it into containers."
        )


def _programs(draft: Path) -> Iterator[Path]:
    yield draft / "python" / "bin" / VERSION
    yield from draft.rglob("*.so")
    yield from draft.rglob("*.so.*")


def _needed_by(programs: Iterable[Path]) -> set[Path]:
    """Shared libraries of all of them, under the names by which they are asked for."""
    found: set[Path] = set()
    for program in programs:
        listed = subprocess.run(
            ["ldd", str(_original(program))],
            capture_output=True,
            text=True,
            timeout=LIST_SECONDS,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ).stdout
        for line in listed.splitlines():
            match = DYNAMIC.match(line)
            if match is None:
                continue
            path = match["path"] or match["name"]
            if path.startswith("/"):
                found.add(Path(path))
    return found


def _original(program: Path) -> Path:
    """The interpreter itself where it was installed: the way to its library may be relative to that."""
    if program.parent.name == "bin":
        return Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return program


def _is_loader(name: str) -> bool:
    return name.startswith(("ld-linux", "ld-musl", "ld64", "ld.so"))
