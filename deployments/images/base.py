"""A base image made from an interpreter of this machine: for engines that reach no registry."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import certifi
from docker import APIClient

from deployments.environments.interpreters import Interpreter
from deployments.environments.uv_command import Log
from deployments.images.engine import identity
from deployments.images.programs import needed_by, packed
from deployments.images.settings import ImageSettings
from deployments.images.specification import key_of

FORMAT = 2
CHUNK_BYTES = 1 << 20
BROUGHT = "/opt/portico-python"
"""Where interpreters lie inside that lie here where images have something else: in a home, or below /tmp."""
PROGRAMS = (
    *(
        "sh",
        "env",
        "cat",
        "chmod",
        "cp",
        "date",
        "echo",
        "grep",
        "head",
        "id",
        "ln",
        "ls",
        "mkdir",
        "mv",
    ),
    *("rm", "sed", "sleep", "tail", "test", "touch", "tr", "true", "uname", "wc"),
)
# What wheels of the index take for granted (PEP 600), what looks up names, and the parts into which the C library once
# was divided. OpenMP is for those packages that do not bring their own.
LIBRARIES = (
    *(
        "libstdc++.so.6",
        "libgcc_s.so.1",
        "libz.so.1",
        "libgomp.so.1",
        "libatomic.so.1",
        "libexpat.so.1",
    ),
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libanl.so.1", "libm.so.6"),
    *("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"),
)
_LEFT_OUT = {
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
}


def house_base(
    client: APIClient, settings: ImageSettings, interpreter: Interpreter, log: Log
) -> str:
    """The id of the base image around this interpreter, imported when it is missing. May be called by many at once."""
    facts = interpreter.executable.stat()
    libc = next(iter(needed_by([interpreter.executable]).values())).stat()
    tag = key_of(
        FORMAT, interpreter, facts.st_size, facts.st_mtime_ns, libc.st_size, libc.st_mtime_ns
    )
    repository = f"portico-base-{settings.installation}"
    found = identity(client, f"{repository}:{tag}")
    if found:
        return found
    log(f"Making a base image from this machine's Python {interpreter.version}")
    with tempfile.TemporaryFile() as spool:
        spool.write(base_tar(interpreter))
        spool.seek(0)
        changes = [
            "ENV PATH=/usr/local/bin:/usr/bin:/bin",
            "ENV LANG=C.UTF-8",
            "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            'CMD ["/bin/sh"]',
            f'LABEL "portico.builder"="{settings.installation}"',
            f'LABEL "portico.base"="{interpreter.version}"',
        ]
        # Not the file itself: the client would send a length and chunks at once.
        chunks = iter(lambda: spool.read(CHUNK_BYTES), b"")
        client.import_image_from_stream(chunks, repository=repository, tag=tag, changes=changes)
    return identity(client, f"{repository}:{tag}")


def base_tar(interpreter: Interpreter) -> bytes:
    """The interpreter and its libraries at their own places, a shell, a few programs and public authorities."""
    own = interpreter_files(interpreter)
    files: dict[str, Path | bytes] = dict(own)
    programs = [Path(found) for name in PROGRAMS if (found := shutil.which(name))]
    for program in programs:
        files[_inside(program)] = program.resolve()
    extensions = [path for path in own.values() if path.suffix == ".so"]
    needed = needed_by([interpreter.executable, *programs, *extensions])
    for path, real in {**needed, **_usual_libraries(needed)}.items():
        if not finds_its_own(interpreter, Path(path)):
            files[_inside(Path(path))] = real
    files |= {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
        "etc/nsswitch.conf": b"hosts: files dns\n",
        "etc/ssl/certs/ca-certificates.crt": Path(certifi.where()),
    }
    zones = Path("/usr/share/zoneinfo")
    for zone in _files_of(zones):
        if not {"right", "posix"} & set(zone.relative_to(zones).parts):
            files[_inside(zone)] = zone
    merged = {
        name: os.readlink(f"/{name}")
        for name in ("bin", "lib", "lib32", "lib64", "sbin")
        if os.path.islink(f"/{name}")
    }
    links = {
        **merged,
        f"usr/local/bin/python{interpreter.minor}": place_of(interpreter, interpreter.executable),
        "usr/local/bin/python3": f"python{interpreter.minor}",
        "usr/local/bin/python": "python3",
    }
    # A link comes before its folder is made: tar makes that folder itself.
    return packed(files, folders=("tmp", "root", "usr/local/bin"), links=links)


def interpreter_files(interpreter: Interpreter) -> dict[str, Path]:
    """The interpreter with its standard library, by the place where it is to lie in an image."""
    library = interpreter.prefix / "lib" / f"python{interpreter.minor}"
    paths = [path for path in _files_of(library) if "_tkinter" not in path.name]
    paths += [interpreter.executable, *(interpreter.prefix / "lib").glob("libpython3*.so.*")]
    return {place_of(interpreter, path).lstrip("/"): path for path in paths}


def place_of(interpreter: Interpreter, path: Path) -> str:
    """Where a file of the interpreter lies inside: the same place, unless images have something else there."""
    prefix = interpreter.prefix
    if not path.is_relative_to(prefix) or prefix.parts[1:2] in {("usr",), ("opt",)}:
        return f"/{_inside(path)}"
    return f"{BROUGHT}/cpython-{interpreter.version}/{path.relative_to(prefix)}"


def finds_its_own(interpreter: Interpreter, library: Path) -> bool:
    """Whether the library lies in the interpreter's folder, and that folder may be moved: a copy or a download."""
    prefix = interpreter.prefix
    return prefix.name.startswith("cpython-") and library.is_relative_to(prefix)


def _inside(path: Path) -> str:
    """Where it lies in the image: the same place, by the folder's real name."""
    return os.path.join(os.path.realpath(path.parent), path.name).lstrip("/")


def _files_of(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")
        ]
        for name in names:
            path = Path(place, name)
            if path.is_file():
                yield path


def _usual_libraries(needed: dict[str, Path]) -> dict[str, Path]:
    """Those beside the libraries that were found: where this machine's loader looks."""
    found = {}
    for folder in sorted({os.path.dirname(path) for path in needed}):
        for name in LIBRARIES:
            path = Path(folder, name)
            if path.exists():
                found[str(path)] = path.resolve()
    return found
