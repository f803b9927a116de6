"""Why a worker could not start: a sentence for the owner of the script, and the lines behind it.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

EVIDENCE_LINES = 12
OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


class CannotStart(Exception):
    """Why this deployment can never serve, in words for its owner."""

    def __init__(self, code: str, message: str, evidence: list[str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.evidence = evidence or []


def missing_module(error: BaseException) -> str:
    """The name of the package or module whose absence `error` reports, or nothing."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    return error.name if package in sys.modules else package


def sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return type(error).__name__ + (": " + text[:300] if text else "")


def own_frames(error: BaseException) -> TracebackType | None:
    """The traceback without our frames and those of the import machinery above the script."""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(OWN_FOLDER) and not file.startswith("<frozen importlib"):
            break
        trace = trace.tb_next
    return trace


def error_file(error: BaseException) -> str:
    frames = traceback.extract_tb(own_frames(error))
    files = [
        frame.filename for frame in frames if not frame.filename.startswith("<frozen importlib")
    ]
    return files[-1] if files else ""


def evidence_of(error: BaseException) -> list[str]:
    lines = "".join(traceback.format_exception(type(error), error, own_frames(error))).splitlines()
    return lines[-EVIDENCE_LINES:]
