"""Azure's curated environments and inference images, as requirement sets of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployments.environments.conda import MINIMAL_REQUIREMENTS, Translation

_SKLEARN = ("numpy", "scipy", "pandas", "joblib", "inference-schema>=1.5", "flask>=2.3,<4")
_MLFLOW = ("mlflow", "pandas", "scikit-learn", "cloudpickle", "flask>=2.3,<4")


@dataclass(frozen=True)
class CuratedEnvironment:
    """A ready environment: `requirements` are ours, not all that Azure's image carries."""

    name: str
    python: str
    requirements: tuple[str, ...]
    description: str
    aliases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def translation(self) -> Translation:
        return Translation(
            python=self.python, requirements=self.requirements, warnings=self.warnings
        )


def curated(name_or_uri: str) -> CuratedEnvironment | None:
    """The environment behind a curated name, registry URI or image; `None` for all others."""
    return _BY_NAME.get(_bare_name(name_or_uri))


def curated_environments() -> tuple[CuratedEnvironment, ...]:
    """All of them, in the order the studio lists them."""
    return _CURATED


def _bare_name(name_or_uri: str) -> str:
    """`azureml://…/environments/X/labels/latest`, `azureml:X@latest`, `mcr…/X:tag` → `x`."""
    text = name_or_uri.strip().lower()
    registry = re.fullmatch(
        r"azureml://registries/azureml[\w-]*/environments/([^/]+)(/(versions|labels)/[^/]+)?", text
    )
    image = re.fullmatch(r"mcr\.microsoft\.com/azureml/(?:curated/)?([^:@]+)([:@].+)?", text)
    if registry:
        return registry[1]
    if image:
        return image[1]
    if "://" in text or "/" in text:
        return ""
    return re.split(r"[:@]", text.removeprefix("azureml:"))[0]


def _minimal(python: str) -> CuratedEnvironment:
    tag = "py" + python.replace(".", "")
    return CuratedEnvironment(
        name=f"minimal-{tag}-inference",
        python=python,
        requirements=MINIMAL_REQUIREMENTS,
        description=f"Python {python} and what a scoring script may import, nothing else.",
        aliases=(
            f"azureml-minimal-{tag}-inference",
            f"minimal-ubuntu22.04-{tag}-cpu-inference",
            f"minimal-ubuntu20.04-{tag}-cpu-inference",
            f"minimal-ubuntu18.04-{tag}-cpu-inference",
            f"azureml-minimal-ubuntu22.04-{tag}-cpu-inference",
            f"azureml-minimal-ubuntu20.04-{tag}-cpu-inference",
            f"azureml-minimal-ubuntu18.04-{tag}-cpu-inference",
        ),
    )


def _mlflow(python: str) -> CuratedEnvironment:
    tag = "py" + python.replace(".", "")
    return CuratedEnvironment(
        name=f"mlflow-{tag}-inference",
        python=python,
        requirements=_MLFLOW,
        description=(
            f"Python {python} and MLflow, for models that carry no environment of their own."
        ),
        aliases=(
            f"mlflow-ubuntu22.04-{tag}-cpu-inference",
            f"mlflow-ubuntu20.04-{tag}-cpu-inference",
            f"mlflow-ubuntu18.04-{tag}-cpu-inference",
            f"azureml-mlflow-ubuntu20.04-{tag}-cpu-inference",
            f"azureml-mlflow-ubuntu18.04-{tag}-cpu-inference",
        ),
    )


_OLD_PYTHON = ("Azure's image has Python 3.7, which has ended; this environment uses 3.8.",)

_CURATED = (
    CuratedEnvironment(
        name="sklearn-1.5",
        python="3.10",
        requirements=("scikit-learn~=1.5.0", *_SKLEARN),
        description="scikit-learn 1.5 with numpy, scipy and pandas.",
        aliases=("azureml-sklearn-1.5", "azureml-sklearn-1.5-ubuntu22.04-py310-cpu"),
    ),
    CuratedEnvironment(
        name="sklearn-1.1",
        python="3.9",
        requirements=("scikit-learn~=1.1.0", *_SKLEARN),
        description="scikit-learn 1.1 with numpy, scipy and pandas.",
        aliases=("azureml-sklearn-1.1-ubuntu20.04-py38-cpu", "sklearn-1.1-ubuntu20.04-py38-cpu"),
    ),
    CuratedEnvironment(
        name="AzureML-sklearn-1.0-ubuntu20.04-py38-cpu",
        python="3.8",
        requirements=("scikit-learn~=1.0.0", *_SKLEARN),
        description="scikit-learn 1.0 with numpy, scipy and pandas.",
        aliases=("azureml-sklearn-1.0", "sklearn-1.0", "sklearn-1.0-ubuntu20.04-py38-cpu"),
    ),
    CuratedEnvironment(
        name="AzureML-sklearn-0.24-ubuntu18.04-py37-cpu",
        python="3.8",
        requirements=("scikit-learn~=0.24.0", *_SKLEARN),
        description="scikit-learn 0.24 with numpy, scipy and pandas.",
        aliases=(
            "azureml-sklearn-0.24",
            "sklearn-0.24",
            "azureml-sklearn-0.24.1-ubuntu18.04-py37-cpu-inference",
            "sklearn-0.24.1-ubuntu18.04-py37-cpu-inference",
        ),
        warnings=_OLD_PYTHON,
    ),
    *(_minimal(python) for python in ("3.12", "3.11", "3.10", "3.9", "3.8")),
    *(_mlflow(python) for python in ("3.12", "3.11", "3.10", "3.9", "3.8")),
    CuratedEnvironment(
        name="lightgbm-3.3",
        python="3.9",
        requirements=("lightgbm~=3.3.0", "scikit-learn<1.5", *_SKLEARN),
        description="LightGBM 3.3 with scikit-learn.",
        aliases=(
            "azureml-lightgbm-3.3",
            "azureml-lightgbm-3.2-ubuntu18.04-py37-cpu",
            "azureml-lightgbm-3.3-ubuntu20.04-py38-cpu",
        ),
    ),
    CuratedEnvironment(
        name="acpt-pytorch-2.2-cuda12.1",
        python="3.10",
        requirements=("torch~=2.2.0", "torchvision", "numpy<2", "pandas", "pillow", "requests"),
        description="PyTorch 2.2.",
        aliases=("azureml-acpt-pytorch-2.2-cuda12.1",),
    ),
    CuratedEnvironment(
        name="AzureML-pytorch-1.13-ubuntu20.04-py38-cuda11.7-gpu",
        python="3.8",
        requirements=("torch~=1.13.0", "torchvision~=0.14.0", "pandas", "pillow", "requests"),
        description="PyTorch 1.13.",
        aliases=(
            "acpt-pytorch-1.13-cuda11.7",
            "azureml-acpt-pytorch-1.13-py38-cuda11.7-gpu",
            "azureml-pytorch-1.10-ubuntu18.04-py38-cuda11-gpu",
        ),
    ),
    CuratedEnvironment(
        name="tensorflow-2.12-cuda11",
        python="3.10",
        requirements=("tensorflow~=2.12.0", "pandas", "pillow"),
        description="TensorFlow 2.12.",
        aliases=(
            "azureml-tensorflow-2.12-cuda11",
            "azureml-tensorflow-2.12-ubuntu20.04-py38-cuda11-gpu",
        ),
    ),
    CuratedEnvironment(
        name="onnxruntime-1.20",
        python="3.12",
        requirements=("onnxruntime~=1.20.0", "numpy", "flask>=2.3,<4"),
        description="ONNX Runtime on the processor.",
        aliases=("azureml-onnxruntime-1.6-ubuntu18.04-py37-cpu-inference",),
    ),
    CuratedEnvironment(
        name="triton-inference",
        python="3.12",
        requirements=("onnxruntime>=1.20", "numpy"),
        description="ONNX Runtime and numpy: what serves a Triton model that is deployed without code.",
    ),
    # Base images: they bring a Python and nothing to import; the conda file beside them says the
    # rest.
    CuratedEnvironment(
        name="openmpi4.1.0-ubuntu22.04",
        python="3.10",
        requirements=MINIMAL_REQUIREMENTS,
        description="Azure's base image of 2022, without MPI here.",
        aliases=("openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04", "openmpi5.0-ubuntu24.04"),
    ),
    CuratedEnvironment(
        name="openmpi4.1.0-ubuntu20.04",
        python="3.8",
        requirements=MINIMAL_REQUIREMENTS,
        description="Azure's base image of 2020, without MPI here.",
        aliases=("openmpi3.1.2-ubuntu18.04", "openmpi4.1.0-cuda11.6-cudnn8-ubuntu20.04"),
    ),
)

_BY_NAME = {
    alias.lower(): environment
    for environment in _CURATED
    for alias in (environment.name, *environment.aliases)
}
