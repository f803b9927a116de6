"""MLflow models served with no code of the user's: what is checked of their files, and what they need installed."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deployments.environments.specification import EnvironmentSpec
from workspaces import plain_yaml, storage
from workspaces.errors import NotFound, UserError
from workspaces.models import ModelVersion

FLAVOR = "python_function"
MLMODEL = "MLmodel"
LARGEST_BYTES = 1_000_000
# Where the flavor names files of the model; any of them may be left out.
NAMED_FILES = ("data", "model_path", "python_model", "code", "model_code_path")
ENVIRONMENT_FILES = ("conda.yaml", "python_env.yaml", "requirements.txt")
MLFLOW = {"mlflow", "mlflow-skinny"}
MINOR = re.compile(r"\d+\.\d+")
MODULE = re.compile(r"mlflow(\.[A-Za-z_]\w*)+")


def is_served_alone(model: ModelVersion | None, *, has_code: bool) -> bool:
    """Whether a deployment of this model is served by us, with no script."""
    return model is not None and model.type == ModelVersion.Type.MLFLOW and not has_code


def folder_of(model: ModelVersion) -> str:
    """The model's folder below `AZUREML_MODEL_DIR`: what Azure tells as `MLFLOW_MODEL_FOLDER`."""
    return str(model.leaf) if model.is_folder else "."


def check_model(model: ModelVersion, *, has_environment: bool) -> None:
    """The model can be served as far as its files tell; `UserError` with what to do otherwise."""
    files = Files(model.content_hash, str(model))
    folders = {str(folder) for path in files.paths for folder in PurePosixPath(path).parents}
    for key, named in _named_files(files.flavor()):
        place = str(PurePosixPath(named))
        if place not in files.paths and place not in folders:
            raise UserError(
                f"MLmodel names the file '{named}' ({FLAVOR}.{key}), which is not in the model {model}. Register the "
                "whole folder that mlflow wrote.",
                code="ResourceNotFound",
                target="model",
            )
    if not has_environment:
        environment_of(model)


def environment_of(model: ModelVersion, folder: Path | None = None) -> EnvironmentSpec:
    """What the model's own files ask to have installed, with MLflow added where they forget it.

    `folder` is the model laid out, for requirements that are files of it. `UserError` when no file says anything.
    """
    return EnvironmentSpec(conda_text=_conda_text(model.content_hash, str(model)), folder=folder)


def imports_of(model: ModelVersion) -> str:
    """What serving the model imports, as the text of a script, so that it can be compiled before the first start."""
    loader = str(Files(model.content_hash, str(model)).flavor().get("loader_module") or "")
    names = ["mlflow.pyfunc", "pandas", *([loader] if MODULE.fullmatch(loader) else [])]
    return "".join(f"import {name}\n" for name in names)


# Asked at every look at an instance; what is stored under a hash never changes.
@lru_cache(maxsize=256)
def _conda_text(content_hash: str, label: str) -> str:
    files = Files(content_hash, label)
    flavor = files.flavor()
    wanted = [name for name in _environment_files(flavor) if name in files.paths]
    if not wanted:
        raise UserError(
            f"The model {label} has none of {', '.join(ENVIRONMENT_FILES)}, which say what to install. Give "
            "environment, or register the model with them.",
            target="environment",
        )
    name = wanted[0]
    is_yaml = name.endswith((".yaml", ".yml"))
    document = files.document(name) if is_yaml else {"dependencies": [{"pip": [f"-r {name}"]}]}
    python, conda, pip = _taken_apart(document)
    pip = [line for one in pip for line in files.unfolded(one)]
    if not python:
        found = MINOR.match(str(flavor.get("python_version") or ""))
        python = found.group() if found else ""
    pip += _forgotten([*conda, *pip], str(files.document(MLMODEL).get("mlflow_version") or ""))
    whole = {
        **{key: document[key] for key in ("channels", "variables") if key in document},
        "dependencies": [*([f"python={python}"] if python else []), *conda, {"pip": pip}],
    }
    return str(yaml.safe_dump(whole, sort_keys=False))


class Files:
    """The stored files of one model, read as they are asked for; `UserError` names what is wrong with one."""

    def __init__(self, content_hash: str, label: str) -> None:
        self.paths = {entry.path for entry in storage.entries(content_hash)}
        self._content_hash = content_hash
        self._label = label

    def flavor(self) -> dict[str, Any]:
        flavors = self.document(MLMODEL).get("flavors")
        flavor = flavors.get(FLAVOR) if isinstance(flavors, dict) else None
        if not isinstance(flavor, dict):
            named = flavors if isinstance(flavors, dict) else {}
            raise UserError(
                f"The model {self._label} has no flavor {FLAVOR} in MLmodel (flavors there: "
                f"{', '.join(map(str, named)) or 'none'}), and only that one can be served without a script. Give "
                "code_configuration and environment, or save it with that flavor.",
                target="model",
            )
        return flavor

    def document(self, name: str) -> dict[str, Any]:
        try:
            found = plain_yaml.load(self.text(name), may_alias=True)
        except yaml.YAMLError as error:
            raise UserError(
                f"The file {name} of the model {self._label} is not valid YAML: {error}. Mend it, and register the "
                "model again.",
                target="model",
            ) from error
        return found if isinstance(found, dict) else {}

    def unfolded(self, line: str) -> list[str]:
        """The lines of a requirements file of the model in place of `-r <file>`."""
        found = re.fullmatch(r"(?:-r|--requirement)[ =]*(\S+)", line.strip())
        if found is None:
            return [line]
        lines = (one.strip() for one in self.text(str(PurePosixPath(found.group(1)))).splitlines())
        return [one for one in lines if one and not one.startswith("#")]

    def text(self, name: str) -> str:
        try:
            content = storage.read_file(self._content_hash, name, limit=LARGEST_BYTES)
        except NotFound:
            raise UserError(
                f"The model {self._label} has no file '{name}'. Register the whole folder that mlflow wrote.",
                code="ResourceNotFound",
                target="model",
            ) from None
        return content.decode("utf-8", "replace")


def _named_files(flavor: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(key, flavor[key]) for key in NAMED_FILES if isinstance(flavor.get(key), str)]
    artifacts = flavor.get("artifacts")
    for name, value in artifacts.items() if isinstance(artifacts, dict) else ():
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            found.append((f"artifacts.{name}", value["path"]))
    return found


def _environment_files(flavor: dict[str, Any]) -> list[str]:
    """The files that may say it, the one that MLmodel names first: old versions name conda.yaml alone."""
    env = flavor.get("env")
    named = [env] if isinstance(env, str) else list(env.values()) if isinstance(env, dict) else []
    return list(dict.fromkeys([*(str(name) for name in named), *ENVIRONMENT_FILES]))


def _taken_apart(document: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """Python, conda packages and pip lines of a conda file or a `python_env.yaml`."""
    dependencies = document.get("dependencies")
    dependencies = dependencies if isinstance(dependencies, list) else []
    if "python" in document or "build_dependencies" in document:
        named = str(document.get("python") or "")
        return named, [], [str(one) for one in dependencies]
    python, conda, pip = "", [], []
    for one in dependencies:
        if isinstance(one, dict) and isinstance(one.get("pip"), list):
            pip += [str(line) for line in one["pip"]]
        elif isinstance(one, str) and re.match(r"python\s*[=<>!~ ]", one.strip() + " "):
            python = one.strip().removeprefix("python").strip().lstrip("=")
        else:
            conda.append(one)
    return python, conda, pip


def _forgotten(requirements: list[Any], version: str) -> list[str]:
    """What loading and calling the model needs, and nobody asked for: the small package of MLflow, and pandas."""
    names = {_name(line) for line in requirements if isinstance(line, str)}
    if "mlflow" in names:
        return []
    pin = f"=={version}" if re.fullmatch(r"\d+(\.\d+)*", version) else ""
    added = [] if names & MLFLOW else [f"mlflow-skinny{pin}"]
    return added if "pandas" in names else [*added, "pandas"]


def _name(line: str) -> str:
    bare = line.partition("#")[0].partition("::")[2] or line.partition("#")[0]
    try:
        return canonicalize_name(Requirement(bare.strip()).name)
    except InvalidRequirement:
        return canonicalize_name(re.split(r"[=<>!~\s\[;]", bare.strip())[0])
