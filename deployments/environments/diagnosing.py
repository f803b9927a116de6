"""All that is wrong with a list of packages, told at once: uv stops at the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from deployments.environments.explaining import explain
from deployments.environments.failures import MAX_EVIDENCE_LINES, BuildFailure, Fix
from deployments.environments.process import DeadlinePassed, Finished
from deployments.environments.requirements import canonical_name

MOST = 6
LOOK_SECONDS = 12
"""After the first failure; what is found until then is told."""
CODE = "ImageBuildFailure"
_TRIED_AGAIN = "error: No solution found"


def diagnose(
    lines: Sequence[str],
    done: Finished,
    explained: Callable[[str], BuildFailure],
    resolve: Callable[[list[str]], Finished],
) -> BuildFailure:
    """The failure of `done` and of what is left without its culprits, as one.

    `resolve` asks uv for the versions of fewer lines; `explained` says what uv printed. Raises `Cancelled`.
    """
    until = time.monotonic() + LOOK_SECONDS
    found = [explained(done.text)]
    left = list(lines)
    while found[-1].culprits and len(found) < MOST and time.monotonic() < until:
        fewer = [line for line in left if canonical_name(line) not in found[-1].culprits]
        if len(fewer) == len(left) or not any(map(canonical_name, fewer)):
            break
        left = fewer
        try:
            done = resolve(left)
        except DeadlinePassed:
            break
        if done.code == 0 or not _is_about_packages(done.text):
            break
        found.append(explained(done.text))
    return together(found)


def together(found: Sequence[BuildFailure]) -> BuildFailure:
    """Several failures on one card: every sentence, some evidence of each, a fix of each."""
    first = found[0]
    if len(found) == 1:
        return first
    each = max(1, MAX_EVIDENCE_LINES // len(found))
    evidence = [line for failure in found for line in _without_heading(failure.evidence)[:each]]
    fixes = [
        fix
        for failure in found
        for fix in failure.fixes[:1]
        if fix.kind not in ("open_build_log", "retry")
    ]
    return replace(
        first,
        code=first.code if len({failure.code for failure in found}) == 1 else CODE,
        sentence=" ".join(dict.fromkeys(failure.sentence for failure in found)),
        evidence=tuple(evidence),
        fixes=(*dict.fromkeys(fixes[:2]), Fix("View build log", "open_build_log")),
        culprits=tuple(name for failure in found for name in failure.culprits),
    )


def _is_about_packages(output: str) -> bool:
    """Not an index that went away, and not what only a build from source could tell."""
    failure = explain(output)
    return (
        "No solution found" in output and not failure.is_transient and failure.code != "DiskFull"
    )


def _without_heading(evidence: Sequence[str]) -> list[str]:
    return [line for line in evidence if not line.startswith(_TRIED_AGAIN)] or list(evidence)
