"""Small changes to an environment's text that a failure calls for: add a package, pin one, name a Python. Pure."""

from __future__ import annotations

import re
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from deployments.environments.conda import translate_conda
from deployments.environments.conda_names import RENAMED
from deployments.environments.requirements import canonical_name
from workspaces import plain_yaml
from workspaces.errors import UserError

# Module → package, where the names differ.
PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "Crypto": "pycryptodome",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "google.protobuf": "protobuf",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "PIL": "pillow",
    "pkg_resources": "setuptools",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
_PACKAGES = {name.lower(): package for name, package in PACKAGES.items()}
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PYTHON = re.compile(r"^\s*python(?=$|[\s=<>!~\[])")


def package_of(module: str) -> str:
    """The package to install for `import <module>`; an empty text for what is no module's name."""
    if not _MODULE.fullmatch(module):
        return ""
    top = module.split(".", 1)[0]
    return _PACKAGES.get(module.lower()) or _PACKAGES.get(top.lower()) or top.replace("_", "-")


def with_requirement(text: str, requirement: str, *, is_conda: bool) -> str:
    """The text with this requirement, in place of the line that names the same package if there is one.

    `UserError` for what is no requirement, or a file that cannot be read.
    """
    try:
        Requirement(requirement)
    except InvalidRequirement as error:
        raise UserError(
            f"{requirement!r} is not a pip requirement.", target="requirement"
        ) from error
    if not is_conda:
        return "\n".join([*_without(text.splitlines(), requirement), requirement, ""])
    document = _load(text)
    dependencies = _dependencies(document)
    pip = next((entry["pip"] for entry in dependencies if _has_pip(entry)), None)
    kept = [entry for entry in dependencies if not _names(entry, requirement)]
    if pip is None:
        pip = []
        if not any(isinstance(entry, str) and canonical_name(entry) == "pip" for entry in kept):
            kept.append("pip")
        kept.append({"pip": pip})
    pip[:] = [*_without(pip, requirement), requirement]
    document["dependencies"] = kept
    return _dump(document)


def with_python(text: str, python: str) -> str:
    """The conda file with this Python, such as `3.11`."""
    if not re.fullmatch(r"3\.\d{1,2}", python):
        raise UserError(f"{python!r} is not a Python version such as 3.11.", target="python")
    document = _load(text)
    entries = _dependencies(document)
    rest = [e for e in entries if not (isinstance(e, str) and _PYTHON.match(e))]
    document["dependencies"] = [f"python={python}", *rest]
    return _dump(document)


def as_conda(requirements: list[str] | tuple[str, ...], python: str) -> str:
    """A conda file that says the same as these pip requirements."""
    dependencies: list[Any] = [f"python={python}"] if python else []
    return _dump(
        {
            "channels": ["conda-forge"],
            "dependencies": [*dependencies, "pip", {"pip": list(requirements)}],
        }
    )


def _without(lines: list[str], requirement: str) -> list[str]:
    """The lines that name another package."""
    name = canonical_name(requirement)
    return [line for line in lines if not name or canonical_name(str(line)) != name]


def _names(entry: object, requirement: str) -> bool:
    """Whether a line of the conda part names the same package, under conda's name for it."""
    if not isinstance(entry, str):
        return False
    bare = re.split(r"[\s=<>!~\[]", entry.split("::")[-1].strip(), maxsplit=1)[0]
    return canonical_name(RENAMED.get(bare.lower()) or bare) == canonical_name(requirement)


def _has_pip(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("pip"), list)


def _dependencies(document: dict[str, Any]) -> list[Any]:
    found: list[Any] = document.get("dependencies") or []
    return found


def _load(text: str) -> dict[str, Any]:
    # The translation refuses what is no conda file, too large, or made to grow when it is read.
    translate_conda(text)
    document: dict[str, Any] = plain_yaml.load(text)
    return document


def _dump(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, indent=2)
