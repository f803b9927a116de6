"""Makes `.venv` with everything Portico needs: `python install.py [--dev]`. Standard library only.

Quick when nothing changed: a stamp in `.venv` remembers what was installed from which lock file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "portico-installed"
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
"""Options of pip that say how packages are reached, and the variables by which uv hears of them.

Further indexes and folders of wheels are left out: the lock file names public packages only, by hash.
"""


class InstallError(Exception):
    """A sentence for whoever ran make."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Install Portico into .venv.")
    parser.add_argument("--dev", action="store_true", help="what the tests need, too")
    is_dev = parser.parse_args().dev
    try:
        install(is_dev=is_dev)
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def install(*, is_dev: bool) -> None:
    """Bring `.venv` to the lock file; nothing to do is success."""
    # What tests need includes what running needs.
    is_dev = is_dev or _stamp().startswith("dev ")
    lock = ROOT / ("requirements-dev.txt" if is_dev else "requirements.txt")
    wanted = f"{'dev' if is_dev else 'run'} {_digest(lock, ROOT / 'pyproject.toml')}"
    if _stamp() == wanted and _works():
        return
    STAMP.unlink(missing_ok=True)
    if not _works():
        _make_venv()
    environment = uv_environment()
    uv = _uv(lock, environment)
    print(f"Installing what {lock.name} names into .venv ...", flush=True)
    install = [*uv, "pip", "install", "--quiet", "--python", str(PYTHON)]
    _run([*install, "--require-hashes", "--requirement", str(lock)], environment)
    # The project itself, in place: setuptools is among what was just installed.
    _run(
        [*install, "--no-deps", "--no-build-isolation", "--offline", "-e", str(ROOT)], environment
    )
    STAMP.write_text(wanted)


def _stamp() -> str:
    try:
        return STAMP.read_text()
    except OSError:
        return ""


def _digest(*files: Path) -> str:
    """Of what decides about the content of `.venv`, its place included: console scripts hold it."""
    text = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for file in files:
        text.update(file.read_bytes())
    return text.hexdigest()


def _works() -> bool:
    """Whether `.venv` has an interpreter of a version we support that starts at all."""
    script = "import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))"
    try:
        return subprocess.run([PYTHON, "-c", script], capture_output=True).returncode == 0
    except OSError:
        return False


def _make_venv() -> None:
    print("Making .venv ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    if shutil.which("uv"):
        _run(["uv", "venv", "--quiet", "--python", sys.executable, str(VENV)], dict(os.environ))
        return
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        said = getattr(error, "stdout", b"").decode(errors="replace").strip().splitlines()
        raise InstallError(
            f"{sys.executable} cannot make a virtual environment{': ' + said[-1] if said else ''}.\n"
            f"Debian and Ubuntu keep the part it needs in a package of its own: "
            f"apt-get install python{version}-venv (or python3-venv), then try again."
        ) from error


def uv_environment() -> dict[str, str]:
    """Our environment, with pip's configuration carried over to uv, which does not read it itself."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_NO_PROGRESS": "1"}
    options = _pip_options()
    for option, variable in PIP_TO_UV.items():
        if options.get(option):
            environment.setdefault(variable, options[option])
    if options.get("trusted-host"):
        environment.setdefault("UV_INSECURE_HOST", options["trusted-host"])
    if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        environment.setdefault("UV_NO_INDEX", "1")
        environment.setdefault("UV_FIND_LINKS", ",".join(options.get("find-links", "").split()))
    return environment


def _pip_options() -> dict[str, str]:
    """What `pip config list` says; nothing when there is no pip (a `.venv` of uv's has none)."""
    options: dict[str, str] = {}
    for python in (PYTHON, sys.executable):
        found = subprocess.run(
            [python, "-m", "pip", "config", "list"], capture_output=True, text=True
        )
        if found.returncode == 0:
            for line in found.stdout.splitlines():
                match = re.match(r"(?:[\w-]+|:env:)\.([\w-]+)='(.*)'$", line)
                if match:
                    options[match[1]] = match[2].replace("\\n", " ")
            break
    return options


def _uv(lock: Path, environment: dict[str, str]) -> list[str]:
    """The command `uv`: of the version in the lock, from its wheel, unless the machine has one."""
    inside = VENV / "bin" / "uv"
    if inside.exists():
        return [str(inside)]
    found = shutil.which("uv")
    if found:
        return [found]
    version = re.search(r"^uv==([\w.]+)", lock.read_text(), re.MULTILINE)
    assert version is not None, f"{lock} names no uv"
    _run([str(PYTHON), "-m", "pip", "install", "--quiet", f"uv=={version[1]}"], environment)
    return [str(inside)]


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        subprocess.run(command, env=environment, check=True, cwd=ROOT)
    except subprocess.CalledProcessError as error:
        raise InstallError(
            f"'{' '.join(command[:4])} ...' failed (exit code {error.returncode}); what it said is above.\n"
            f"It needs a package index: check the network, pip's configuration, and SSL_CERT_FILE "
            f"if your network has a certificate of its own."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
