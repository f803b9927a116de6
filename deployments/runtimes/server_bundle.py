"""Lays the inference server out in a flat folder that any user of the machine can run, with what it needs and no more.

The checkout and its environment may lie below a closed home, and hold more than an instance should see.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import py_compile
import secrets
import shutil
import sys
import time
from pathlib import Path

from deployments.environments.interpreters import Interpreter, Interpreters
from workspaces.trees import stage_tree

SERVER = "inference_server"
LIBRARIES = ("httptools", "uvloop")
DEBUGGER = "debugpy"
DEBUGGER_FOLDER = "debugger"
"""Where workers find it that are debugged; in a folder of its own, for nobody else is to import it."""
MAIN = f'''"""Starts the inference server that lies beside this file."""

import runpy

runpy.run_module("{SERVER}", run_name="__main__", alter_sys=True)
'''
DRAFT_SECONDS = 3600


def prepare_server(home: Path, *, interpreters: Interpreters | None = None) -> tuple[Path, Path]:
    """The folder to run with `python -I <folder>`, and that python; made once per content below `home`.

    Where `interpreters` are at hand (the environments'), their copies are shared.
    """
    own = Interpreter(
        version=platform.python_version(),
        executable=Path(getattr(sys, "_base_executable", sys.executable)).resolve(),
        prefix=Path(sys.base_prefix),
    )
    interpreters = interpreters or Interpreters(home / "interpreters")
    return lay_out(home / "server"), interpreters.staged(own).executable


def lay_out(folder: Path) -> Path:
    """Make `folder/<content hash>`, whole or not at all; one that is there is returned at once."""
    target = folder / _content_hash()
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    _sweep(folder)
    draft = folder / f".{target.name}.{secrets.token_hex(4)}"
    draft.mkdir()
    try:
        # Copied, not linked: whoever edits the checkout in place must not change what runs.
        shutil.copytree(
            _location(SERVER), draft / SERVER, ignore=shutil.ignore_patterns("__pycache__")
        )
        for library in LIBRARIES:
            stage_tree(_location(library), draft / library, skip=_is_dispensable)
        (draft / "__main__.py").write_text(MAIN)
        # Users of the folder cannot write bytecode into it, and nothing in it ever changes.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(draft, quiet=2, invalidation_mode=mode)
        # Not compiled: the workers' Python may be any.
        stage_tree(_location(DEBUGGER), draft / DEBUGGER_FOLDER / DEBUGGER, skip=_is_dispensable)
        _open_to_all(draft)
        draft.rename(target)
    except OSError:
        # Somebody else was faster, or it really failed.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _content_hash() -> str:
    """Of the server's own files byte by byte, of the libraries by version, of the Python that compiled it."""
    content = hashlib.sha256(f"{sys.version} {sys.platform} {platform.machine()}".encode())
    for library in (*LIBRARIES, DEBUGGER):
        content.update(f"{library} {importlib.metadata.version(library)}\0".encode())
    root = _location(SERVER)
    for path in sorted(root.rglob("*")):
        if path.is_file() and not _is_bytecode(path):
            content.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()[:24]


def _location(package: str) -> Path:
    specification = importlib.util.find_spec(package)
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError(
            f"The inference server needs {package}: uv pip install {package}"
        )
    return Path(specification.origin).parent


def _is_bytecode(path: Path) -> bool:
    return "__pycache__" in path.parts


def _is_dispensable(path: Path) -> bool:
    """Sources of the extension modules and type stubs."""
    return _is_bytecode(path) or path.suffix in {".c", ".pyx", ".pxd", ".pyi"}


def _open_to_all(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        for name in folders:
            (Path(place) / name).chmod(0o755)
        for name in files:
            path = Path(place) / name
            # Hard links to installed files are open already, and their mode is not ours to change.
            if path.stat().st_mode & 0o444 != 0o444:
                path.chmod(0o644)
    folder.chmod(0o755)


def _sweep(folder: Path) -> None:
    """Remove the drafts of those who died over them."""
    for draft in folder.glob(".*"):
        if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)
