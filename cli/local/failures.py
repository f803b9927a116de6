"""Why a local deployment did not come up, told in a terminal as the failures of a portal are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cli.faults import ClientFault
from cli.local.records import Failure

# What helps besides what the place of the failure says.
HELPS = {
    "OutOfMemory": "Choose a larger instance_type in the YAML file, or load less in init()",
    "UserScriptImportError": "Add the package to the conda file of the environment (an image alone gets one beside "
    "it), or correct the import",
    "UserScriptFunctionNotFound": "Write init() and run(data) into the scoring script",
    "ModelLoadFailed": "Name the versions with which the model was saved in the conda file",
}
# kind → what to do about a failed build where there are no buttons; its log is on the terminal already.
HOW = {
    "edit_environment": "{label}, then run the command again",
    "set_pin": "{label} in the packages of the environment",
    "set_python": "{label}: python={detail} in the conda file of the environment",
    "free_disk": "Free space on the disk, then run the command again",
    "retry": "Run the command again, once the cause is gone",
    "open_build_log": "",
}
# Codes of what did not even start; all others are met while it loads.
NEVER_STARTED = {"EngineAway", "CannotListen", "ImageMissing", "OutOfCapacity", "BadArgument"}
NEVER_STARTED |= {"InternalServerError"}
BUILD, START, LOAD = "Build environment", "Start", "Load model"
MOST_EVIDENCE = 12


class DeploymentFailed(ClientFault):
    """The deployment could not be built or started; the text is the whole card."""

    def __init__(self, failure: Failure, phase: str = "") -> None:
        super().__init__(card(failure, phase or phase_of(failure.code)))
        self.failure = failure


def phase_of(code: str) -> str:
    """The phase in which a deployment that was built fails so."""
    return START if code in NEVER_STARTED else LOAD


def card(failure: Failure, phase: str) -> str:
    """Code and sentence, the phase, at most twelve lines of evidence, what to do."""
    parts = [f"({failure.code}) {failure.message}", f"  Phase: {phase}"]
    evidence = [line for line in failure.evidence if line.strip()]
    # The sentence may hold the beginning of a long line.
    if not all(line.strip(" .")[:200] in failure.message for line in evidence):
        parts += ["  Evidence:", *(f"    | {line}" for line in evidence[-MOST_EVIDENCE:])]
    helps = [HELPS[failure.code]] if failure.code in HELPS else []
    fixes = list(dict.fromkeys([*helps, *failure.fixes]))
    if fixes:
        parts += ["  What helps:", *(f"    - {fix}" for fix in fixes)]
    return "\n".join(parts)


def in_words(fixes: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """What a failed build offers, each as something that can be done here."""
    found = (
        HOW.get(fix["kind"], "{label}").format(label=fix["label"], detail=fix["detail"])
        for fix in fixes
    )
    return tuple(text for text in found if text)
