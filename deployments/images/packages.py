"""Packages inside a build container: resolved and installed by uv, or by the image's own conda."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.environments.conda import Translation
from deployments.environments.diagnosing import diagnose
from deployments.environments.explaining import explain
from deployments.environments.failures import BuildFailed, BuildFailure, refused_source_build
from deployments.environments.process import Finished
from deployments.environments.resolving import (
    Lock,
    lacks_wheels,
    option_lines,
    staged_lines,
    wants_sources,
)
from deployments.environments.uv_command import EnvironmentSettings, uv_variables
from deployments.images.boxes import Box
from deployments.images.failures import conda_failed
from deployments.images.programs import INSIDE, packed, packed_tree
from deployments.images.pythons import InsidePython

ENVIRONMENT = "/opt/portico-env"
"""Where an environment lies inside an image."""
WORK = f"{INSIDE}/work"
AUTHORITIES = f"{INSIDE}/work/authorities.pem"
_CONDA_SEARCH = """
for conda in micromamba mamba conda; do
  for place in /opt/miniconda/bin /opt/conda/bin /opt/miniconda/condabin /usr/local/bin /usr/bin; do
    if [ -x "$place/$conda" ]; then echo "$place/$conda"; exit 0; fi
  done
done
exit 1
"""
_UNREACHED = re.compile(
    r"CondaHTTPError|Connection(?:Failed|Error)|Could not resolve host|Download error", re.I
)


@dataclass(frozen=True)
class Installer:
    """Installs one translated wish into `ENVIRONMENT` of a box."""

    box: Box
    settings: EnvironmentSettings
    translation: Translation
    key: str
    work: Path
    """Folder of this machine that keeps copies of the wish's own files."""

    def install(self, python: InsidePython, kept: Lock | None) -> Lock:
        """Resolve unless there is a lock, then install; raises `BuildFailed`."""
        lines = staged_lines(self.translation, self.work)
        files = self.work / "files"
        if files.is_dir():
            self.box.put(WORK, packed_tree(files, "files"))
        lines = [line.replace(str(files), f"{WORK}/files") for line in lines]
        options = option_lines(lines)
        self._check(
            self._uv(
                "venv", ENVIRONMENT, "--python", python.base, "--clear", "--quiet", options=options
            )
        )
        lock = kept if kept is not None and kept.python == python.minor else None
        lock = lock or self._resolve(lines, options, python)
        pinned = [line for line in lock.text.splitlines() if not line.startswith("-")]
        self._write("lock.txt", (*options, *pinned))
        self.box.log(f"Installing {lock.package_count} packages")
        sync = ["pip", "sync", f"{WORK}/lock.txt", "--python", f"{ENVIRONMENT}/bin/python"]
        # Nobody can write bytecode into it later.
        sync += ["--allow-empty-requirements", "--compile-bytecode"]
        sync += [] if lock.needs_source_builds else ["--no-build"]
        self._check(self._uv(*sync, options=options, builds=lock.needs_source_builds), lock.python)
        return lock

    def _resolve(self, lines: Sequence[str], options: Sequence[str], python: InsidePython) -> Lock:
        self.box.log(
            f"Resolving {len(lines) - len(options)} requirements for Python {python.version}"
        )
        self._write("requirements.in", lines)
        warnings = list(self.translation.warnings)
        needs_builds = wants_sources(lines, self.translation)
        if needs_builds and not self.settings.source_builds:
            raise BuildFailed(refused_source_build(self.translation.requirements))
        compile_ = [
            "pip",
            "compile",
            f"{WORK}/requirements.in",
            "--output-file",
            f"{WORK}/made.txt",
        ]
        compile_ += [
            "--quiet",
            "--python",
            f"{ENVIRONMENT}/bin/python",
            "--no-header",
            "--no-annotate",
        ]
        if not needs_builds:
            done = self._uv(*compile_, "--no-build", options=options)
            if done.code != 0 and self.settings.source_builds and lacks_wheels(done.text):
                warnings.append("A package has no wheel for this image; it is built from source.")
                needs_builds = True
            elif done.code != 0:
                raise self._diagnosed(lines, done, [*compile_, "--no-build"], options, python)
        if needs_builds:
            done = self._uv(*compile_, options=options, builds=True)
            if done.code != 0:
                raise self._diagnosed(lines, done, compile_, options, python, builds=True)
        made = self.box.read(f"{WORK}/made.txt").decode()
        return Lock(self.key, python.minor, made, tuple(warnings), needs_builds)

    def conda(self, text: str) -> bool:
        """Make the environment with the image's own conda; False when it has none or no channel answers."""
        found = self.box.tool("sh", "-c", _CONDA_SEARCH, log=_quiet)
        if found.code != 0 or not found.lines:
            return False
        program = found.lines[0]
        self.box.log(f"Making the environment with {program}")
        self.box.put(WORK, packed({"conda.yaml": text.encode()}))
        is_micro = program.endswith("micromamba")
        command = [program, "create" if is_micro else "env", *([] if is_micro else ["create"])]
        command += ["--prefix", ENVIRONMENT, "--file", f"{WORK}/conda.yaml"]
        command += ["--yes"] if is_micro else []
        done = self.box.run(command, environment=self._conda_variables())
        if done.code == 0:
            return True
        if _UNREACHED.search(done.text):
            self.box.log(
                "Warning: No channel of conda answers; the packages come from the package index."
            )
            return False
        raise BuildFailed(conda_failed(done.text))

    def _uv(self, *arguments: str, options: Sequence[str], builds: bool = False) -> Finished:
        """uv in the box; what builds from source runs foreign code, which must not reach the shared cache."""
        variables = uv_variables(self._settings_inside(), options) | {
            "HOME": f"{INSIDE}/home",
            "UV_CACHE_DIR": f"{INSIDE}/{'cache' if builds else 'shared'}",
            "UV_LINK_MODE": "copy",
        }
        return self.box.tool("uv", *arguments, environment=variables)

    def _settings_inside(self) -> EnvironmentSettings:
        if not self.settings.ca_bundle:
            return self.settings
        return replace(self.settings, ca_bundle=AUTHORITIES)

    def _conda_variables(self) -> dict[str, str]:
        variables = {
            "HOME": f"{INSIDE}/home",
            "CONDA_PKGS_DIRS": f"{INSIDE}/cache/conda",
            "MAMBA_ROOT_PREFIX": f"{INSIDE}/cache/mamba",
            "PIP_NO_CACHE_DIR": "1",
        }
        if self.settings.index_url:
            variables["PIP_INDEX_URL"] = self.settings.index_url
        if self.settings.extra_index_urls:
            variables["PIP_EXTRA_INDEX_URL"] = " ".join(self.settings.extra_index_urls)
        if self.settings.ca_bundle:
            for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CONDA_SSL_VERIFY"):
                variables[name] = AUTHORITIES
        return variables

    def _write(self, name: str, lines: Sequence[str]) -> None:
        self.box.put(WORK, packed({name: "".join(f"{line}\n" for line in lines).encode()}))

    def _diagnosed(
        self,
        lines: Sequence[str],
        done: Finished,
        compile_: Sequence[str],
        options: Sequence[str],
        python: InsidePython,
        *,
        builds: bool = False,
    ) -> BuildFailed:
        """All that is wrong with the lines, not only what `done` stopped at."""

        def again(fewer: list[str]) -> Finished:
            self._write("requirements.in", fewer)
            return self._uv(*compile_, options=options, builds=builds)

        return BuildFailed(
            diagnose(lines, done, lambda output: self._explain(output, python.minor), again)
        )

    def _check(self, done: Finished, python: str = "") -> None:
        if done.code != 0:
            raise BuildFailed(self._explain(done.text, python))

    def _explain(self, output: str, python: str) -> BuildFailure:
        return explain(
            output,
            python=python,
            conda_names=self.translation.conda_names,
            requirements=self.translation.requirements,
        )


def _quiet(line: str) -> None:
    """What is asked only for its answer."""
