"""What an instance is started with: the inference server's command line and its whole environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from deployments.runtimes import InstanceSpec
from deployments.runtimes.places import Place

APP_ROOT = PurePosixPath("/var/azureml-app")
"""Where code and model lie in a container (facts 4.3)."""


@dataclass(frozen=True)
class Server:
    """Our inference server: a folder to run, and the interpreter to run it with."""

    folder: Path
    python: Path

    def command(self, spec: InstanceSpec, place: Place) -> list[str]:
        """The command line of the instance's main process."""
        script = None
        if spec.code_dir is not None and spec.scoring_script:
            script = spec.code_dir / spec.scoring_script
        flags = server_flags(spec, entry_script=script, model_dir=spec.model_dir)
        flags += ["--python", str(spec.python or self.python)]
        flags += ["--socket", str(place.socket), "--status_file", str(place.status)]
        return [str(self.python), "-I", str(self.folder), *flags]

    def environment(self, spec: InstanceSpec, place: Place, *, as_root: bool) -> dict[str, str]:
        """All the instance sees: nothing of the portal's own environment, which holds its secrets.

        The user's variables win, but what runs as root takes no orders to the loader from outside.
        """
        python = spec.python or self.python
        values = {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(place.temporary),
            "TMPDIR": str(place.temporary),
            "LANG": "C.UTF-8",
            **thread_limits(spec),
        }
        if spec.code_dir is not None:
            values["AML_APP_ROOT"] = str(spec.code_dir)
        if spec.scoring_script:
            values["AZUREML_ENTRY_SCRIPT"] = spec.scoring_script
        if spec.model_dir is not None:
            values["AZUREML_MODEL_DIR"] = str(spec.model_dir)
        values |= spec.environment_variables
        if as_root:
            values = {key: value for key, value in values.items() if not key.startswith("LD_")}
        return values


def server_flags(
    spec: InstanceSpec, *, entry_script: PurePath | None, model_dir: PurePath | None
) -> list[str]:
    """What the server is told wherever it runs; the paths are those that the instance sees."""
    options: dict[str, object] = {}
    if entry_script is not None:
        options["entry_script"] = entry_script
    if model_dir is not None:
        options["model_dir"] = model_dir
        if spec.model_repository:
            options["model_repository"] = model_dir / spec.model_repository
    options |= {
        "max_concurrent_requests": spec.max_concurrent_requests,
        "max_queue_wait_ms": spec.max_queue_wait_ms,
        "request_timeout_ms": spec.request_timeout_ms,
        "worker_count": spec.worker_count,
    }
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def thread_limits(spec: InstanceSpec) -> dict[str, str]:
    """As many threads as processors: libraries count those of the whole machine."""
    threads = str(max(1, int(spec.cpu_cores)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, threads)
