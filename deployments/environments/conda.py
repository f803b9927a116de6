"""Conda and pip files become pip requirements and a Python version. Pure: no network, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import Repr
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from deployments.environments.conda_names import NOT_PYTHON, RENAMED
from deployments.environments.requirements import read_requirements
from workspaces import plain_yaml
from workspaces.errors import UserError, all_of

MAX_FILE_BYTES = 1_000_000
# What the worker of the inference server runs on, the best choice for "any" first.
PREFERRED_PYTHONS = ("3.12", "3.11", "3.10", "3.13", "3.9", "3.8")
KNOWN_KEYS = {"name", "channels", "dependencies", "prefix", "variables", "platforms", "category"}

# What these have, the package index has as well; "nodefaults" is none.
USUAL_CHANNELS = {"defaults", "conda-forge", "anaconda", "main", "nodefaults", "pytorch"}

# What a deployment without an environment gets: what `@rawhttp` and the schema decorators import.
MINIMAL_REQUIREMENTS = ("flask>=2.3,<4", "inference-schema>=1.5")

_MATCH = re.compile(
    r"""^(?:(?P<channel>[^\s\[\]=<>!~,|]+?)::)?      # conda-forge::, conda-forge/linux-64::
        (?P<name>[A-Za-z0-9_][A-Za-z0-9_.\-]*)
        \s*(?P<version>[^\[\]]*?)\s*
        (?:\[(?P<options>.*)\])?$""",
    re.VERBOSE,
)
_OPTION = re.compile(r"""(\w+)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^,\s]+))""")
# Looks no deeper into a value than a sentence needs.
_show = Repr()
_show.maxstring = _show.maxother = _show.maxlong = 80
_MINOR = re.compile(r"^\d+\.\d+")


@dataclass(frozen=True)
class Translation:
    """What uv needs to know: `python` is a minor version like "3.12", or empty for "any"."""

    python: str = ""
    requirements: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    # Canonical requirement name → the name it had in the conda part of the file, for error
    # sentences.
    conda_names: Mapping[str, str] = field(default_factory=dict)
    # Files of the folder that the requirements point to: wheels, source folders.
    local_paths: tuple[Path, ...] = ()


def translate_conda(text: str, *, folder: Path | None = None) -> Translation:
    """Read a conda file, or MLflow's `python_env.yaml`, whose `-r` files are in `folder`.

    Raises `UserError` naming the place in the file for what cannot be read or has no meaning here.
    """
    document = _load(text)
    if isinstance(document.get("python"), str | int | float) or "build_dependencies" in document:
        return _python_env(document, folder)
    reader = _Reader(folder)
    reader.warn_of_unknown_keys(document)
    reader.channels = tuple(_strings(document.get("channels"), "channels"))
    reader.variables = _variables(document.get("variables"))
    dependencies = document.get("dependencies")
    if dependencies is None:
        dependencies = []
    if not isinstance(dependencies, list):
        raise _wrong("dependencies", dependencies, "a list of packages")
    errors: list[UserError] = []
    for index, entry in enumerate(dependencies):
        try:
            reader.take(entry, f"dependencies[{index}]")
        except UserError as error:
            errors.append(error)
    if errors:
        raise all_of(errors)
    reader.warn_of_channels()
    return reader.translation()


def translate_requirements(
    text: str, *, python: str = "", folder: Path | None = None
) -> Translation:
    """Read a pip requirements file; `python` is the version to use, for the file cannot say it."""
    _refuse_huge(text)
    listed = read_requirements(text.splitlines(), where="requirements", folder=folder)
    return Translation(
        python=_minor(python, "python") if python else "",
        requirements=listed.lines,
        warnings=listed.warnings,
        local_paths=listed.local_paths,
    )


def minimal_translation(python: str = "") -> Translation:
    """The environment of a deployment that names none."""
    return Translation(python=python, requirements=MINIMAL_REQUIREMENTS)


@dataclass
class _Reader:
    """Collects the entries of one conda file."""

    folder: Path | None
    python: str = ""
    channels: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    requirements: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    conda_names: dict[str, str] = field(default_factory=dict)
    local_paths: list[Path] = field(default_factory=list)

    def warn_of_unknown_keys(self, document: Mapping[str, Any]) -> None:
        unknown = sorted(str(key) for key in document if key not in KNOWN_KEYS)
        if unknown:
            self.warnings.append(f"Ignored in the conda file: {', '.join(unknown)}.")

    def warn_of_channels(self) -> None:
        """Of channels that may have what the package index has not."""
        others = [name for name in self.channels if name not in USUAL_CHANNELS]
        if others:
            self.warnings.append(
                f"Not asked: the channel{'s' if len(others) > 1 else ''} {', '.join(others)}. Packages come from the "
                "package index of this installation; an image with a conda of its own may ask channels "
                "(PORTICO_CONDA)."
            )

    def take(self, entry: Any, where: str) -> None:
        if isinstance(entry, str):
            self._take_conda(entry.strip(), where)
        elif isinstance(entry, dict) and set(entry) == {"pip"}:
            listed = read_requirements(
                _strings(entry["pip"], f"{where}.pip"), where=f"{where}.pip", folder=self.folder
            )
            self.requirements.extend(listed.lines)
            self.warnings.extend(listed.warnings)
            self.local_paths.extend(listed.local_paths)
        elif isinstance(entry, dict):
            keys = ", ".join(str(key) for key in entry)
            raise UserError(
                f"{where} is a mapping with the key {keys!r}; the only mapping a conda file "
                "knows here is 'pip:'. Write the package as text, like 'numpy=2.1', or put it below 'pip:'.",
                target=where,
            )
        else:
            raise _wrong(where, entry, "a package like 'numpy=2.1', or a 'pip:' list")

    def _take_conda(self, text: str, where: str) -> None:
        matched = _MATCH.match(text)
        if matched is None:
            raise UserError(
                f"{where} is {text!r}, which is not a conda package. "
                "Write 'name', 'name=1.2' or 'name>=1.2,<2'.",
                target=where,
            )
        name = matched["name"].lower()
        options = {key: a or b or c for key, a, b, c in _OPTION.findall(matched["options"] or "")}
        version = options.get("version", matched["version"].strip())
        if name == "python":
            self.python = self._python(version, where)
        elif name == "pip":
            return
        elif NOT_PYTHON.fullmatch(name):
            self.warnings.append(
                f"Left out {text!r}: it is not a Python package. If a package of yours needs it, "
                "install it on the machine or use a container image that has it."
            )
        else:
            renamed = RENAMED.get(name, name)
            self.requirements.append(renamed + _specifier(version, text, where))
            self.conda_names.setdefault(
                canonicalize_name(re.split(r"\[", renamed)[0]), matched["name"]
            )

    def _python(self, version: str, where: str) -> str:
        if self.python:
            raise UserError(
                f"{where} names Python a second time; keep one 'python=3.x' line.", target=where
            )
        specifier = _specifier(version, f"python{version}", where)
        if not specifier:
            return ""
        exact = re.match(r"^==(\d+)\.(\d+)", specifier)
        if exact:
            return _minor(f"{exact[1]}.{exact[2]}", where)
        wanted = SpecifierSet(specifier)
        for minor in PREFERRED_PYTHONS:
            # A minor satisfies a range when an early or a late patch of it does.
            if any(wanted.contains(f"{minor}.{patch}") for patch in (0, 99)):
                return minor
        raise UserError(
            f"{where} asks for Python {version!r}, which no supported version satisfies. "
            f"Use one of {', '.join(sorted(PREFERRED_PYTHONS, key=_as_numbers))}.",
            code="PythonMismatch",
            target=where,
        )

    def translation(self) -> Translation:
        return Translation(
            python=self.python,
            requirements=tuple(dict.fromkeys(self.requirements)),
            warnings=tuple(dict.fromkeys(self.warnings)),
            channels=self.channels,
            variables=self.variables,
            conda_names=self.conda_names,
            local_paths=tuple(self.local_paths),
        )


def _python_env(document: Mapping[str, Any], folder: Path | None) -> Translation:
    """MLflow's own format; its `build_dependencies` are pip's business and left out."""
    lines = _strings(document.get("dependencies"), "dependencies")
    listed = read_requirements(lines, where="dependencies", folder=folder)
    python = document.get("python")
    return Translation(
        python=_minor(str(python), "python") if python is not None else "",
        requirements=listed.lines,
        warnings=listed.warnings,
        local_paths=listed.local_paths,
    )


def _specifier(version: str, text: str, where: str) -> str:
    """Conda's version as pip's: `=1.2` → `==1.2.*`, `==1.2` as it is, a build string dropped."""
    version = version.strip()
    if not version or version == "*":
        return ""
    if "|" in version:
        raise UserError(
            f"{where} is {text!r}: alternatives with '|' have no pip form. "
            "Write a range like 'name>=1.2,<1.4'.",
            target=where,
        )
    clauses = [_clause(clause.strip()) for clause in _without_build(version).split(",")]
    specifier = ",".join(clause for clause in clauses if clause)
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier as error:
        raise UserError(
            f"{where} is {text!r}: {version!r} is not a version pip understands. "
            "Write 'name=1.2', 'name==1.2.3' or 'name>=1.2,<2'.",
            target=where,
        ) from error
    return specifier


def _without_build(version: str) -> str:
    """Drop `=build` or ` build` after the version: `=1.2=py38_0`, `1.2 py38_0`, `==1.2=0`."""
    version = re.sub(r"\s*,\s*", ",", version)
    version = re.sub(r"([=<>!~])\s+", r"\1", version)
    first = version.split(" ")[0] if " " in version else version
    matched = re.match(r"^(={0,2})([^=<>!~,]+)=[^=,]+$", first)
    return f"{matched[1]}{matched[2]}" if matched else first


def _clause(clause: str) -> str:
    if clause in {"", "*"}:
        return ""
    matched = re.match(r"^(===|==|!=|<=|>=|~=|<|>|=)?\s*(.+)$", clause)
    if matched is None:
        return clause
    operator, version = matched[1] or "", matched[2]
    stem = re.sub(r"\.?\*$", "", version)
    if operator in {"<", ">", "<=", ">=", "~="}:
        return operator + stem
    if not stem:
        return ""
    if stem != version or operator == "=":
        return f"{'!=' if operator == '!=' else '=='}{stem}.*"
    return f"{operator or '=='}{version}"


def _minor(version: str, where: str) -> str:
    matched = _MINOR.match(version.strip())
    if matched is None or not version.strip().startswith("3."):
        raise UserError(
            f"{where} asks for Python {version!r}; only Python 3 is supported, written like "
            "'3.12'.",
            code="PythonMismatch",
            target=where,
        )
    return matched[0]


def _load(text: str) -> dict[str, Any]:
    _refuse_huge(text)
    try:
        document = plain_yaml.load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or next(iter(error.args), "it is not YAML")
        raise UserError(
            f"The conda file cannot be read{place}: {problem}.", target="conda_file"
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _wrong("conda_file", document, "a mapping with 'dependencies:'")
    return document


def _refuse_huge(text: str) -> None:
    if len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise UserError(
            f"The environment file has {len(text):,} characters; "
            f"at most {MAX_FILE_BYTES:,} bytes are read.",
            target="conda_file",
        )


def _strings(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(where, value, "a list of lines")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _wrong(f"{where}[{index}]", item, "text (put it in quotes)")
    return [str(item) for item in value]


def _variables(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong("variables", value, "a mapping of names to text")
    for name, content in value.items():
        if not isinstance(content, str | int | float):
            raise _wrong(f"variables.{name}", content, "text")
    return {str(name): str(content) for name, content in value.items()}


def _wrong(where: str, value: Any, wanted: str) -> UserError:
    shown = _show.repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    return UserError(
        f"{where} is {shown} ({type(value).__name__}), but must be {wanted}.", target=where
    )


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
