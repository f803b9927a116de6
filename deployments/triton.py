"""Triton models that are deployed without code: how their files must lie, and what serves them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from django.conf import settings

from deployments.engines import runtime_name
from deployments.models import Revision
from deployments.runtimes import InstanceSpec
from workspaces import storage
from workspaces.errors import UserError
from workspaces.models import ModelVersion

ENVIRONMENT = "triton-inference"
"""The curated environment of such a model that names none of its own."""
IMAGE_MOUNT = "/models"
IMAGE_PORT = 8000
LIVENESS_PATH = "/v2/health/live"
READINESS_PATH = "/v2/health/ready"
LARGEST_CONFIG_BYTES = 1024 * 1024
LAYOUT = (
    "A Triton model is a folder with <model>/<version>/<file> in it, such as densenet/1/model.onnx, and a "
    "config.pbtxt beside the versions where the model needs one"
)
FOREIGN_FILES = {
    "model.plan": "TensorRT",
    "model.graphdef": "TensorFlow",
    "model.savedmodel": "TensorFlow",
    "model.pt": "PyTorch",
    "model.xml": "OpenVINO",
}
FOREIGN_BACKENDS = {
    "tensorrt": "TensorRT",
    "tensorrt_plan": "TensorRT",
    "tensorflow": "TensorFlow",
    "tensorflow_graphdef": "TensorFlow",
    "tensorflow_savedmodel": "TensorFlow",
    "pytorch": "PyTorch",
    "pytorch_libtorch": "PyTorch",
    "openvino": "OpenVINO",
    "dali": "DALI",
    "fil": "FIL",
    "vllm": "vLLM",
    "tensorrtllm": "TensorRT-LLM",
}
BACKEND = re.compile(r"""^\s*(?:backend|platform)\s*:\s*["']([^"']+)["']""", re.MULTILINE)
MOST_NAMED = 6


@dataclass(frozen=True)
class Repository:
    """Where the models lie below the model's own folder (empty: in it), and what they are."""

    folder: str
    models: tuple[str, ...]
    foreign: tuple[tuple[str, str], ...]
    """Models that only Triton itself runs, each with the name of what made it."""


def is_repository(model: ModelVersion | None, *, has_code: bool) -> bool:
    """Whether the model's own files are all there is to serve."""
    return model is not None and not has_code and model.type == ModelVersion.Type.TRITON


def uses_image(on_runtime: str) -> bool:
    """Whether such models run in Triton's own image on this runtime."""
    return on_runtime == "docker" and bool(settings.TRITON_IMAGE)


def runs_in_image(revision: Revision) -> bool:
    """Whether this one does; one with an environment of its own runs in that."""
    return (
        revision.environment_version is None
        and is_repository(revision.model_version, has_code=revision.code_version is not None)
        and uses_image(revision.runtime or runtime_name())
    )


def in_image(spec: InstanceSpec) -> InstanceSpec:
    """The same instance as a container of Triton's image, with Triton's own port and probes (facts 5.3)."""
    return replace(
        spec,
        is_custom=True,
        python=None,
        command=(
            "tritonserver",
            f"--model-repository={IMAGE_MOUNT}/{spec.model_repository}",
            f"--http-port={IMAGE_PORT}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ),
        port=IMAGE_PORT,
        liveness_path=LIVENESS_PATH,
        readiness_path=READINESS_PATH,
        model_mount=IMAGE_MOUNT,
    )


def check_repository(model: ModelVersion, on_runtime: str) -> None:
    """`UserError` with the way out, if the files are no model repository that can be served."""
    found = repository_of(model)
    if found.foreign and not uses_image(on_runtime):
        name, maker = found.foreign[0]
        raise UserError(
            f"The model '{name}' is one of {maker}, which only Triton itself runs. Convert it to ONNX "
            f"({name}/<version>/model.onnx); or have an administrator set PORTICO_TRITON_IMAGE on an "
            "installation with the docker runtime.",
            target="model",
        )


def repository_of(model: ModelVersion) -> Repository:
    """The repository that the model's files are; `UserError` if they are none."""
    if not model.is_folder:
        raise UserError(f"The model {model} is a single file. {LAYOUT}.", target="model")
    return _repository_of(model.content_hash)


def folder_below_root(model: ModelVersion) -> str:
    """The repository's path below `AZUREML_MODEL_DIR`."""
    return "/".join(part for part in (model.leaf, repository_of(model).folder) if part)


@lru_cache(maxsize=256)
def _repository_of(content_hash: str) -> Repository:
    paths = [
        entry.path.split("/")
        for entry in storage.entries(content_hash)
        if not any(part.startswith(".") for part in entry.path.split("/"))
    ]
    folder: list[str] = []
    # People upload the folder around the repository, too.
    while paths and not _is_repository(paths) and len({path[0] for path in paths}) == 1:
        if any(_is_version(path, 1) or path[1:] == ["config.pbtxt"] for path in paths):
            break
        folder.append(paths[0][0])
        paths = [path[1:] for path in paths if len(path) > 1]
    if not paths or not _is_repository(paths):
        raise UserError(_refusal(content_hash), target="model")
    names = sorted({path[0] for path in paths if len(path) > 1})
    foreign = []
    for name in names:
        own = [path[1:] for path in paths if path[0] == name]
        config = _config(content_hash, "/".join([*folder, name]), own)
        backend = BACKEND.search(config)
        told = backend[1] if backend else ""
        if told != "ensemble" and not any(_is_version(path, 0) for path in own):
            raise UserError(
                f"The model '{name}' has no version: put its file into a folder with a number, such as "
                f"{name}/1/model.onnx.",
                target="model",
            )
        maker = FOREIGN_BACKENDS.get(told) or ("" if told else _maker_by_file(own))
        if maker:
            foreign.append((name, maker))
    return Repository("/".join(folder), tuple(names), tuple(foreign))


def _is_repository(paths: list[list[str]]) -> bool:
    """Whether some top folder has a version or a configuration in it."""
    return any(
        _is_version(path, 1) or (len(path) == 2 and path[1] == "config.pbtxt")
        for path in paths
        if not path[0].isdigit()
    )


def _is_version(path: list[str], place: int) -> bool:
    return len(path) > place + 1 and path[place].isdigit() and int(path[place]) > 0


def _config(content_hash: str, folder: str, own: list[list[str]]) -> str:
    if ["config.pbtxt"] not in own:
        return ""
    path = f"{folder}/config.pbtxt"
    return storage.read_file(content_hash, path, limit=LARGEST_CONFIG_BYTES).decode(
        errors="replace"
    )


def _maker_by_file(own: list[list[str]]) -> str:
    names = {path[1] for path in own if _is_version(path, 0)}
    if names & {"model.onnx", "model.py"}:
        return ""
    return next((maker for name, maker in FOREIGN_FILES.items() if name in names), "")


def _refusal(content_hash: str) -> str:
    paths = [entry.path for entry in storage.entries(content_hash)]
    if any(_is_version(path.split("/"), 0) for path in paths):
        return (
            "The model's folder is one model of a repository: it has versions in it. Register the folder above "
            f"it. {LAYOUT}."
        )
    listed = ", ".join(paths[:MOST_NAMED]) + (", …" if len(paths) > MOST_NAMED else "")
    return f"{LAYOUT}. The files of this one: {listed or 'none'}."
