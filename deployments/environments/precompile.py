"""Bytecode for what a scoring script imports, so that the first worker does not pay for it.

Importing runs the packages' code, so it happens as a user without rights and only tells which
files matter; compiling runs nothing and writes the bytecode with the builder's rights.
"""

from __future__ import annotations

import ast
import glob
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from deployments.environments.interpreters import NOBODY
from deployments.environments.process import DeadlinePassed
from deployments.environments.uv_command import Uv

# Parsing takes five hundred times as much memory.
MAX_SCRIPT_BYTES = 256 * 1024
MAX_NAMES = 500

# Runs in the environment's interpreter, 3.8 or newer. Only packages of the environment are
# imported, never the script or its neighbours.
_DISCOVER = """
import importlib, importlib.util, sys
root = sys.argv[1]
sys.dont_write_bytecode = True
told = set()
for name in sys.argv[2:]:
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
        place = [spec.origin or ""] + list(spec.submodule_search_locations or ()) if spec else []
        if any(str(each).startswith(root) for each in place):
            importlib.import_module(name)
    except BaseException:
        pass
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        is_source = isinstance(file, str) and file.endswith(".py")
        if is_source and file.startswith(root) and file not in told:
            told.add(file)
            sys.__stdout__.write("FILE " + file + "\\n")
    sys.__stdout__.flush()
"""

_COMPILE = """
import py_compile, sys
for line in open(sys.argv[1], encoding="utf-8"):
    try:
        py_compile.compile(line.rstrip("\\n"), doraise=True, quiet=2)
    except Exception:
        pass
"""


def precompile(uv: Uv, environment: Path, script: Path, work: Path, *, compiler: Path) -> int:
    """Compile what `script` imports from `environment`; how many files. Only a cancel raises.

    `compiler` is an interpreter of the environment's version that nobody but us can change.
    """
    until = min(uv.deadline, time.monotonic() + uv.settings.compile_seconds)
    try:
        if uv.user_id is not None and environment.stat().st_uid != uv.user_id:
            return 0  # built from source: what its folders lead to is not ours to write to
        source = script.read_bytes()
        done = environment / f".compiled-{hashlib.sha256(source).hexdigest()[:32]}"
        if done.exists():
            return 0
        files = _imported_files(uv, environment, imported_names(source), until)
        listing = work / "compile.txt"
        listing.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
        if files:
            # Without `site`, whose .pth files run code of packages.
            command: list[str | Path] = [compiler, "-I", "-S", "-c", _COMPILE, listing]
            uv.run(command, deadline=until, user_id=uv.user_id)
        done.touch()
    except (DeadlinePassed, OSError):
        return 0
    return len(files)


def imported_names(source: bytes) -> list[str]:
    """The modules that a script names in its imports; none of one that is too large or no Python."""
    if len(source) > MAX_SCRIPT_BYTES:
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return list(dict.fromkeys(names))[:MAX_NAMES]


def _imported_files(uv: Uv, environment: Path, names: list[str], until: float) -> list[str]:
    """The source files that importing brings in; what was found until then when time runs out."""
    python = environment / "bin" / "python"
    files: list[str] = []

    def take(line: str) -> None:
        path = line.removeprefix("FILE ")
        inside = Path(path).resolve().is_relative_to(environment.resolve())
        if path != line and inside and not is_compiled(path):
            files.append(path)

    nobody = NOBODY if os.geteuid() == 0 else None
    halfway = (time.monotonic() + until) / 2
    with suppress(DeadlinePassed):
        uv.run(
            [python, "-I", "-c", _DISCOVER, environment, *names],
            deadline=halfway,
            user_id=nobody,
            log=take,
        )
    return files


def is_compiled(path: str) -> bool:
    """Whether some bytecode newer than `path` lies beside it; the interpreter checks the rest."""
    folder, name = os.path.split(path)
    stem = name.removesuffix(".py")
    compiled = list(Path(folder, "__pycache__").glob(f"{glob.escape(stem)}.cpython-*.pyc"))
    return any(each.stat().st_mtime >= os.stat(path).st_mtime for each in compiled)
