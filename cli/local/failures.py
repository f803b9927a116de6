"""Why a local deployment did not come up: the failure card of the studio, as text for a terminal."""

from __future__ import annotations

from cli.faults import ClientFault
from cli.local.records import Failure

TITLES = {
    "UserScriptImportError": "The scoring script could not be imported",
    "UserScriptFunctionNotFound": "The scoring script lacks a function",
    "UserScriptInitFailed": "init() failed",
    "ModelLoadFailed": "The model could not be loaded",
    "ResourceNotReady": "The server never became ready",
    "OutOfMemory": "The deployment ran out of memory",
    "ImageBuildFailure": "The environment could not be built",
    "PythonMismatch": "The environment asks for a Python that is not here",
    "DiskFull": "The disk is full",
    "OperationCanceled": "The operation was canceled",
}
# What helps besides what the place of the failure says.
HELPS = {
    "OutOfMemory": "Choose a larger instance_type in the YAML file, or load less in init()",
    "UserScriptImportError": "Add the package to the conda file of the environment (an image alone gets one beside "
    "it), or correct the import",
    "UserScriptFunctionNotFound": "Write init() and run(data) into the scoring script",
    "ModelLoadFailed": "Name the versions with which the model was saved in the conda file",
}
MOST_EVIDENCE = 12


class DeploymentFailed(ClientFault):
    """The deployment could not be built or started; the text is the whole card."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(card(failure))
        self.failure = failure


def card(failure: Failure) -> str:
    """Title and code, one sentence, at most twelve lines of evidence, what to do."""
    title = TITLES.get(failure.code, "The local deployment failed")
    parts = [f"{title} ({failure.code})", failure.message]
    if failure.evidence:
        parts += ["", *(f"    {line}" for line in failure.evidence[-MOST_EVIDENCE:])]
    helps = [HELPS[failure.code]] if failure.code in HELPS else []
    fixes = list(dict.fromkeys([*helps, *failure.fixes]))
    if fixes:
        parts += ["", *(f"  - {fix}" for fix in fixes)]
    return "\n".join(parts)
