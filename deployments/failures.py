"""Why an operation failed, in the form every door shows: the failure card of the studio, the CLI, the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deployments.environments.failures import BuildFailure
from deployments.runtimes import InstanceStatus
from deployments.runtimes.printable import printable
from workspaces.errors import UserError, ValidationFailed

MOST_EVIDENCE = 12

# code → (title, [(label, kind)]): the words of the card; the kinds are what a door can act on.
CARDS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "UserScriptImportError": (
        "The scoring script could not be imported",
        [
            ("Add to the environment and retry", "edit_environment"),
            ("Edit the script", "edit_code"),
        ],
    ),
    "UserScriptFunctionNotFound": (
        "The scoring script lacks a function",
        [("Edit the script", "edit_code"), ("Show a template", "show_template")],
    ),
    "UserScriptInitFailed": (
        "init() failed",
        [("List the model's files", "list_model_files"), ("Edit the script", "edit_code")],
    ),
    "ModelLoadFailed": (
        "The model could not be loaded",
        [
            ("Edit the environment", "edit_environment"),
            ("List the model's files", "list_model_files"),
        ],
    ),
    "ResourceNotReady": (
        "The server never became ready",
        [("Raise the probe limits", "edit_probes"), ("View the log", "open_log")],
    ),
    "OutOfMemory": (
        "The instance ran out of memory",
        [("Choose a larger instance type", "edit_compute"), ("View the log", "open_log")],
    ),
    "ImageBuildFailure": (
        "The environment could not be built",
        [("Edit the environment", "edit_environment"), ("View the build log", "open_build_log")],
    ),
    "PythonMismatch": (
        "The environment asks for a Python that is not here",
        [("Edit the environment", "edit_environment")],
    ),
    "DiskFull": ("The disk is full", [("Try again", "retry")]),
    "OutOfCapacity": (
        "There is no room for the instance",
        [("Choose a smaller type", "edit_compute"), ("Try again", "retry")],
    ),
    "ImageMissing": (
        "The image is gone from the engine",
        [("Build it again", "retry"), ("Edit the environment", "edit_environment")],
    ),
    "OutOfQuota": ("The quota is used up", [("Choose a smaller type", "edit_compute")]),
    "ResourceNotFound": ("Something it needs does not exist", [("Choose another", "edit")]),
    "BadArgument": ("A setting is wrong", [("Edit", "edit")]),
    "OperationCanceled": ("The operation was canceled", [("Try again", "retry")]),
    "InternalServerError": ("Something went wrong in Portico", [("Try again", "retry")]),
}


# More patience does not help what has ended by itself.
ENDED = (
    {"label": "View the log", "kind": "open_log"},
    {"label": "Edit the environment", "kind": "edit_environment"},
)


@dataclass(frozen=True)
class Failure:
    """One failed phase: a stable code, one sentence, the lines that show it, and what to do."""

    code: str
    phase: str
    cause: str
    evidence: tuple[str, ...] = ()
    fixes: tuple[dict[str, str], ...] = ()
    details: dict[str, str] = field(default_factory=dict)
    title: str = ""
    """Where the code's own title would not be true."""

    def as_dict(self) -> dict[str, Any]:
        """For the `failure` column: plain JSON with a title."""
        title, standard = CARDS.get(self.code, ("The deployment failed", [("Try again", "retry")]))
        fixes = list(self.fixes) or [
            {"label": label, "kind": kind, "detail": ""} for label, kind in standard
        ]
        return {
            **asdict(self),
            "title": self.title or title,
            "cause": printable(self.cause),
            "evidence": [printable(line) for line in self.evidence[-MOST_EVIDENCE:]],
            "fixes": fixes[:3],
        }


def from_user_error(error: UserError, phase: str) -> Failure:
    """A refused wish; several wrong fields become evidence lines."""
    evidence: Sequence[str] = ()
    if isinstance(error, ValidationFailed):
        evidence = [f"{item.target}: {item.message}" for item in error.errors]
    return Failure(error.code, phase, error.message, tuple(evidence))


def from_build(failure: BuildFailure, phase: str) -> Failure:
    fixes = tuple(
        {"label": fix.label, "kind": fix.kind, "detail": fix.detail} for fix in failure.fixes
    )
    return Failure(failure.code, phase, failure.sentence, failure.evidence, fixes)


def from_instance(status: InstanceStatus, phase: str) -> Failure:
    """An instance that ended by itself."""
    code = status.code or "ResourceNotReady"
    cause = status.reason or "User container has crashed or terminated without a reason"
    if cause[-1] not in ".!?":
        cause += "."
    details = {} if status.exit_code is None else {"exit code": str(status.exit_code)}
    has_ended = code == "ResourceNotReady" and status.exit_code is not None
    title = "The server ended before it was ready" if has_ended else ""
    fixes = ENDED if has_ended else ()
    return Failure(code, phase, cause, status.evidence, fixes, details, title)


def never_ready(
    attempts: int,
    seconds: float,
    evidence: tuple[str, ...],
    found: str = "",
    *,
    is_custom: bool = False,
) -> Failure:
    """`found` is what the probes said last, as a sentence; `is_custom`: the container has a server of its own."""
    told = f" {found}" if found else ""
    fixes: tuple[dict[str, str], ...] = ()
    if is_custom and "refused" in found:
        way_out = (
            "Nothing listens on the port that is probed: let the server listen there, on 0.0.0.0, or correct the "
            "ports in the environment's inference_config."
        )
        fixes = (
            {"label": "Correct the ports in inference_config", "kind": "edit_environment"},
            {"label": "View the log", "kind": "open_log"},
        )
    elif is_custom:
        way_out = (
            "Correct the path in the environment's inference_config, or raise "
            "readiness_probe.failure_threshold."
        )
    else:
        way_out = (
            "init() may still be running: load less, or raise readiness_probe.failure_threshold."
        )
    return Failure(
        "ResourceNotReady",
        "Load model",
        f"The server did not become ready within {seconds:.0f} s ({attempts} probes failed).{told} {way_out}",
        evidence,
        fixes,
    )
