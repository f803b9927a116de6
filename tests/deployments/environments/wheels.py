"""Small packages made on the spot, so that real builds need no package index."""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    python: str = ">=3.8",
    code: str = "VALUE = 1\n",
    tag: str = "py3-none-any",
) -> Path:
    """A wheel with one module of the package's name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}"
    ]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def make_source(folder: Path, name: str, *, at_build: str = "pass") -> Path:
    """A source folder that builds without any other package; `at_build` runs while it does."""
    source = folder / name
    source.mkdir(parents=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n'
    )
    (source / "backend.py").write_text(
        BACKEND.replace("NAME", name).replace("AT_BUILD", textwrap.indent(at_build, "    "))
    )
    return source


BACKEND = """\
import os, sys, time, zipfile


def build_wheel(folder, config_settings=None, metadata_directory=None):
    content = ""
AT_BUILD
    wheel = "NAME-1.0-py3-none-any.whl"
    info = "NAME-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
        archive.writestr("NAME.py", "CONTENT = %r" % (content,))
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: 1.0\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return wheel
"""
