"""Azure ML YAML into the SDK's entities: flags and `--set` on top of the file, old keys accepted with a warning."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from cli.edits import Edit, edited, texts
from cli.faults import UsageFault

logger = logging.getLogger("cli.yaml")

# Settings within a deployment within a job: no entity goes deeper.
NESTED = 4
MAKER = "CreatedByType."
Overrides = list[dict[str, Any]]
Loader = Callable[..., Any]


def load_entity(
    loader: Loader,
    file: str | None,
    flags: Mapping[str, Any],
    sets: Iterable[Edit] | None = None,
) -> Any:
    """What `loader` (such as `load_model`) makes of the file with the flags that were given and `--set` on top.

    `--add` and `--remove` change what the file says.

    Without a file the flags are all there is. `UsageFault` for a file that cannot be read.
    """
    overrides: Overrides = [{name: value} for name, value in flags.items() if value is not None]
    overrides += [{name: value} for name, value in map(pair, texts(sets))]
    if file is None:
        return loader(None, params_override=overrides)
    document = read(file)
    renewed = renew(document, Path(file).parent)
    if isinstance(renewed, Mapping):
        renewed = edited(renewed, sets)
    if renewed == document:
        return loader(file, params_override=overrides)
    stream = io.StringIO(yaml.safe_dump(renewed, sort_keys=False))
    # As if it stood in the same folder, to which its paths are relative.
    return loader(stream, relative_origin=file, params_override=overrides)


def reload_entity(loader: Loader, entity: Any, sets: Iterable[Edit]) -> Any:
    """A copy of what the portal told, changed by `--add`, `--remove` and `--set`."""
    values = edited(plain(dump(entity)), sets)
    overrides = [{name: value} for name, value in map(pair, texts(sets))]
    stream = io.StringIO(yaml.safe_dump(values, sort_keys=False))
    return loader(stream, relative_origin=str(Path.cwd() / "set.yml"), params_override=overrides)


def pair(text: str) -> tuple[str, Any]:
    """`a.b=c`; a value that begins like a JSON object or list is one."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageFault(f"--set {text}: it must be key=value, such as instance_count=2.")
    if value[:1] in {"{", "["}:
        try:
            return name, json.loads(value)
        except ValueError:
            return name, value
    return name, value


def dump(entity: Any) -> dict[str, Any]:
    """The entity as its YAML dict, as `az ml` prints it."""
    _spell_out(entity)
    found: dict[str, Any] = entity._to_dict()
    context = found.get("creation_context")
    if isinstance(context, dict) and MAKER in str(context.get("created_by_type")):
        # This one is out of reach in an object of the wire.
        words = str(context["created_by_type"]).removeprefix(MAKER).split("_")
        context["created_by_type"] = "".join(word.capitalize() for word in words)
    return found


def _spell_out(thing: Any, levels: int = NESTED) -> None:
    """Constants as their words: the SDK's text fields would say `State.SUCCEEDED`, here and in what it holds."""
    for name, value in getattr(thing, "__dict__", {}).items():
        if isinstance(value, Enum):
            thing.__dict__[name] = value.value
        elif levels and type(value).__module__.startswith("azure.ai.ml"):
            _spell_out(value, levels - 1)


def plain(value: Any) -> Any:
    """The same of dicts, lists and scalars alone, which YAML can write; without what is None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def reference(text: str | None) -> str | None:
    """`name`, `name:version` or `name@label` as the YAML wants it: `azureml:name@latest`, `azureml:name:version`."""
    if not text or text.startswith(("azureml:", "/", "file:", "http")):
        return text
    return f"azureml:{text}" if ":" in text or "@" in text else f"azureml:{text}@latest"


def renew(document: Any, folder: Path) -> Any:
    """The same with keys of the first version of the format in their later form; says so for each."""
    if not isinstance(document, dict):
        return document
    renewed = dict(document)
    code = renewed.get("code_configuration")
    if isinstance(code, dict) and isinstance(code.get("code"), dict):
        inner = code["code"]
        renewed["code_configuration"] = {
            **code,
            "code": inner.get("path") or inner.get("local_path"),
        }
        _warn("code_configuration.code.path", "code_configuration.code")
    if isinstance(renewed.get("environment"), dict):
        renewed["environment"] = _renewed_environment(
            renewed["environment"], folder, "environment."
        )
    elif "image" not in renewed and isinstance(renewed.get("docker"), dict):
        renewed = _renewed_environment(renewed, folder, "")
    if "target" in renewed and "compute" not in renewed and "auth_mode" in renewed:
        renewed["compute"] = renewed.pop("target")
        _warn("target", "compute")
    return renewed


def _renewed_environment(values: Mapping[str, Any], folder: Path, place: str) -> dict[str, Any]:
    renewed = dict(values)
    docker = renewed.get("docker")
    if isinstance(docker, dict):
        del renewed["docker"]
        if docker.get("image"):
            renewed.setdefault("image", docker["image"])
            _warn(f"{place}docker.image", f"{place}image")
        if isinstance(docker.get("build"), dict):
            build = docker["build"]
            dockerfile = str(build.get("dockerfile") or "Dockerfile").removeprefix("file:")
            renewed.setdefault(
                "build",
                {
                    "path": str(renewed.pop("path", ".")),
                    "dockerfile_path": dockerfile,
                },
            )
            _warn(f"{place}docker.build", f"{place}build")
    path = renewed.pop("path", None) if place else None
    if isinstance(path, str):
        if (folder / path / "Dockerfile").is_file():
            renewed.setdefault("build", {"path": path})
            _warn(f"{place}path", f"{place}build.path")
        elif (folder / path).is_file():
            renewed.setdefault("conda_file", path)
            _warn(f"{place}path", f"{place}conda_file")
        else:
            _warn(f"{place}path", "nothing: files are relative to the YAML")
    return renewed


def read(file: str) -> Any:
    """What the file holds; `UsageFault` when it cannot be read."""
    try:
        with Path(file).open(encoding="utf-8-sig") as stream:
            return yaml.safe_load(stream)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageFault(f"--file {file} cannot be read: {reason}.") from error
    except yaml.YAMLError as error:
        raise UsageFault(f"--file {file} is not valid YAML: {error}") from error


def _warn(old: str, new: str) -> None:
    logger.warning("'%s' is an old key: write '%s'.", old, new)
