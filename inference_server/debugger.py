"""A worker under a debugger: it connects to the one that listens, and waits until that is ready.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib
from typing import Any

from inference_server.start_failure import CannotStart, sentence


def attach_debugger(port: int) -> None:
    """Connects debugpy to the debugger at `port` of this machine, before the script is loaded."""
    try:
        debugger: Any = importlib.import_module("debugpy")
    except ModuleNotFoundError as error:
        raise CannotStart(
            "UserScriptImportError",
            f"AZUREML_DEBUG_PORT is {port}, and debugpy is not in the environment. Add debugpy to its "
            "packages, or remove the variable",
        ) from error
    try:
        debugger.connect(port)
    except Exception as error:
        raise CannotStart(
            "UserScriptInitFailed",
            f"AZUREML_DEBUG_PORT is {port}, and no debugger listens there ({sentence(error)}). Start it "
            "first, or remove the variable",
        ) from error
    debugger.wait_for_client()
