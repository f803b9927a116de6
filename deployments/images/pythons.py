"""The Python that workers run on inside an image: the image's own, or one that is brought along."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from deployments.environments.conda import PREFERRED_PYTHONS
from deployments.environments.failures import BuildFailed
from deployments.environments.interpreters import Interpreter, Interpreters, closest
from deployments.images.base import finds_its_own, interpreter_files, place_of
from deployments.images.boxes import Box
from deployments.images.failures import no_python
from deployments.images.programs import needed_by, packed

# What the image's author has on the PATH comes first, then where Azure's images and conda's keep theirs.
_SEARCH = r"""
for python in $(IFS=:; for place in $PATH; do echo "$place/python3"; echo "$place/python"; done) \
  /opt/miniconda/envs/amlenv/bin/python /azureml-envs/*/bin/python /opt/miniconda/envs/*/bin/python \
  /opt/conda/envs/*/bin/python /opt/miniconda/bin/python /opt/conda/bin/python \
  /usr/local/bin/python3* /usr/bin/python3* /opt/python*/bin/python3*
do
  case "$python" in *-config|*-gdb.py|*m) continue;; esac
  if [ -x "$python" ] && [ ! -d "$python" ]; then
    said=$("$python" -I -S -c 'import os, sys; print("%s %d.%d.%d %s %s" % (sys.implementation.name,
*sys.version_info[:4], os.path.realpath(getattr(sys, "_base_executable", sys.executable))))' 2>/dev/null) &&
    echo "$python $said"
  fi
done
"""
# What packages and scripts import sooner or later.
_NEEDS = "import ctypes, ssl, sqlite3, zlib, bz2, lzma, hashlib, json; print('whole')"


@dataclass(frozen=True)
class InsidePython:
    path: str
    version: str
    base: str = ""
    """The interpreter itself, where `path` is a link or part of a virtual environment."""

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def pythons_in(box: Box) -> list[InsidePython]:
    """Those that scripts can run on, the one that the image's author meant first."""
    done = box.tool("sh", "-c", _SEARCH, log=lambda line: None)
    found: dict[str, InsidePython] = {}
    for line in done.lines:
        words = line.split()
        if len(words) != 5 or words[1] != "cpython" or words[3] != "final":
            continue
        python = InsidePython(words[0], words[2], words[4])
        if python.minor in PREFERRED_PYTHONS:
            found.setdefault(python.minor, python)
    return list(found.values())


def choose_python(
    box: Box, interpreters: Interpreters, minor: str, *, reference: str
) -> tuple[InsidePython, tuple[str, ...]]:
    """The Python for `minor` ("" for any) inside the box, brought there if need be, and warnings.

    Raises `BuildFailed` when there is none and none can be brought.
    """
    own = pythons_in(box)
    fitting = [python for python in own if not minor or python.minor == minor]
    if fitting:
        return fitting[0], ()
    here = interpreters.of(minor, log=box.log, cancel=box.cancel) if minor else None
    if not own and not minor:
        here = interpreters.choose("", log=box.log, cancel=box.cancel).interpreter
    if here is not None:
        box.log(f"The image has no Python {here.minor}; bringing {here.version} into it")
        brought = _bring(box, here)
        if brought is not None:
            return brought, ()
        box.log(f"Python {here.version} of this machine does not run in the image")
    if own and interpreters.policy != "refuse":
        nearest = closest(minor, [python.minor for python in own])
        chosen = next(python for python in own if python.minor == nearest)
        warning = (
            f"The environment asks for Python {minor}, which is not in the image {reference}; "
            f"Python {nearest} is used instead."
        )
        return chosen, (warning,)
    wanted = minor or "3"
    raise BuildFailed(no_python(reference, wanted=wanted, found=[each.minor for each in own]))


def _bring(box: Box, interpreter: Interpreter) -> InsidePython | None:
    """Copy an interpreter of this machine to the same place inside; None when it does not run there."""
    files = interpreter_files(interpreter)
    programs = [interpreter.executable, *(path for path in files.values() if path.suffix == ".so")]
    libraries = {
        path.lstrip("/"): real
        for path, real in needed_by(programs).items()
        if not finds_its_own(interpreter, Path(path))
    }
    # The image's own libraries stay: its loader and C library fit each other.
    question = json.dumps(sorted(libraries))[1:-1].replace(",", "").replace('"', "")
    absent = box.tool(
        "sh",
        "-c",
        f'for f in {question}; do [ -e "/$f" ] || echo "$f"; done',
        log=lambda line: None,
    )
    files |= {name: libraries[name] for name in absent.lines if name in libraries}
    box.put("/", packed(files))
    python = place_of(interpreter, interpreter.executable)
    done = box.run([python, "-I", "-c", _NEEDS], log=lambda line: None)
    if done.code != 0 or "whole" not in done.text:
        return None
    return InsidePython(python, interpreter.version, python)
