"""What an instance is started with: the inference server's command line and its whole environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployments.runtimes import InstanceSpec
from deployments.runtimes.places import Place


@dataclass(frozen=True)
class Server:
    """Our inference server: a folder to run, and the interpreter to run it with."""

    folder: Path
    python: Path

    def command(self, spec: InstanceSpec, place: Place) -> list[str]:
        """The command line of the instance's main process."""
        options: dict[str, object] = {}
        if spec.code_dir is not None and spec.scoring_script:
            options["entry_script"] = spec.code_dir / spec.scoring_script
        if spec.model_dir is not None:
            options["model_dir"] = spec.model_dir
        options |= {
            "python": spec.python or self.python,
            "socket": place.socket,
            "status_file": place.status,
            "max_concurrent_requests": spec.max_concurrent_requests,
            "max_queue_wait_ms": spec.max_queue_wait_ms,
            "request_timeout_ms": spec.request_timeout_ms,
            "worker_count": spec.worker_count,
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [str(self.python), "-I", str(self.folder), *flags]

    def environment(self, spec: InstanceSpec, place: Place, *, as_root: bool) -> dict[str, str]:
        """All the instance sees: nothing of the portal's own environment, which holds its secrets.

        The user's variables win, but what runs as root takes no orders to the loader from outside.
        """
        threads = str(max(1, int(spec.cpu_cores)))
        python = spec.python or self.python
        values = {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(place.temporary),
            "TMPDIR": str(place.temporary),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
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
