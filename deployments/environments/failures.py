"""Why an environment could not be had, as the failure card shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployments.environments.requirements import canonical_name
from workspaces.errors import UserError

MAX_EVIDENCE_LINES = 12
MAX_EVIDENCE_CHARACTERS = 400


@dataclass(frozen=True)
class Fix:
    """One button of the failure card: `kind` says what it does, `detail` with what."""

    label: str
    kind: str  # edit_environment | set_pin | set_python | retry | open_build_log | free_disk | check_index
    detail: str = ""


@dataclass(frozen=True)
class BuildFailure:
    """A failed build as the failure card shows it; `is_transient` when trying again may help."""

    code: str
    sentence: str
    evidence: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    is_transient: bool = False
    culprits: tuple[str, ...] = ()
    """Canonical names of the packages without which the rest could be looked at."""


class BuildFailed(UserError):
    """An environment could not be resolved or built; `failure` has what the failure card shows."""

    def __init__(self, failure: BuildFailure) -> None:
        super().__init__(failure.sentence, code=failure.code, target="environment")
        self.failure = failure


DISK_FIXES = (
    Fix("Delete unused environments", "free_disk"),
    Fix("Retry", "retry"),
)


def disk_full(free_bytes: int, needed_bytes: int, place: str) -> BuildFailure:
    """The refusal before a build starts, when there is not room enough to begin."""
    return BuildFailure(
        "DiskFull",
        f"The disk that holds {place} has {free_bytes / 1e6:,.0f} MB free; "
        f"a build needs {needed_bytes / 1e6:,.0f} MB.",
        fixes=DISK_FIXES,
    )


def disk_ran_out(free_bytes: int, place: str) -> BuildFailure:
    """A build that was stopped before it had filled the disk."""
    return BuildFailure(
        "DiskFull",
        f"The build was stopped before it had filled the disk that holds {place}: {free_bytes / 1e6:,.0f} MB are left.",
        fixes=DISK_FIXES,
    )


def disk_taken(most_bytes: int) -> BuildFailure:
    """A build that took more of the disk than one may."""
    return BuildFailure(
        "DiskFull",
        f"The build was stopped because it took more than {most_bytes / 1024**3:.1f} GiB of the disk, the most that "
        "one may take (PORTICO_BUILD_DISK_BYTES). Write less in it, or ask an operator to raise that.",
        fixes=(
            Fix("Edit the environment", "edit_environment"),
            Fix("View build log", "open_build_log"),
        ),
    )


def memory_ran_out(what: str, most_bytes: int) -> BuildFailure:
    """A build that the kernel ended for want of memory."""
    return BuildFailure(
        "ImageBuildFailure",
        f"{what} was killed, most likely because it needed more than the {most_bytes / 1024**3:.1f} GiB of memory that "
        "builds may have (PORTICO_BUILD_MEMORY_BYTES).",
        fixes=(
            Fix("Edit the environment", "edit_environment"),
            Fix("View build log", "open_build_log"),
        ),
    )


def refused_source_build(requirements: Sequence[str]) -> BuildFailure:
    """The refusal of what only a source build can give, where the operator forbids those."""
    sources = [line for line in requirements if not canonical_name(line) or "@" in line]
    named = listed([line.rsplit("/", 1)[-1] for line in sources]) or "A package"
    return BuildFailure(
        "ImageBuildFailure",
        f"{named} must be built from source, which this portal does not allow.",
        fixes=(Fix("Use wheels", "edit_environment"),),
    )


def out_of_time(seconds: float, last_lines: Iterable[str] = ()) -> BuildFailure:
    """The deadline ended a build that was still going."""
    return BuildFailure(
        "ImageBuildFailure",
        f"The build took longer than {seconds:,.0f} s and was stopped.",
        tuple(last_lines)[-MAX_EVIDENCE_LINES:],
        (Fix("Retry", "retry"), Fix("View build log", "open_build_log")),
        is_transient=True,
    )


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
