"""A worker under a debugger: it connects to the one that listens, or listens for the one that attaches.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

from inference_server.start_failure import CannotStart, sentence

BESIDE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "debugger")
"""Where the server's bundle brings debugpy to environments that have none."""
# The port of a worker that has just ended is free again in a moment.
LISTEN_SECONDS = 10.0
PAUSE_SECONDS = 0.2


def attach_debugger(port: int) -> None:
    """Connects debugpy to the debugger at `port` of this machine, before the script is loaded."""
    debugger = _debugpy(f"AZUREML_DEBUG_PORT is {port}")
    try:
        debugger.connect(port)
    except Exception as error:
        raise CannotStart(
            "UserScriptInitFailed",
            f"AZUREML_DEBUG_PORT is {port}, and no debugger listens there ({sentence(error)}). Start it "
            "first, or remove the variable",
        ) from error
    debugger.wait_for_client()


def await_debugger(host: str, port: int, *, waits: bool) -> None:
    """Lets debuggers attach at this address from now on; with `waits` the script is loaded once one has."""
    debugger = _debugpy(f"PORTICO_DEBUG_LISTEN is {host}:{port}")
    until = time.monotonic() + LISTEN_SECONDS
    while True:
        try:
            debugger.listen((host, port))
        except Exception as error:
            if time.monotonic() < until:
                time.sleep(PAUSE_SECONDS)
                continue
            raise CannotStart(
                "UserScriptInitFailed",
                f"PORTICO_DEBUG_LISTEN is {host}:{port}, and nothing can listen there ({sentence(error)}). "
                "Choose another port",
            ) from error
        break
    print(f"A debugger can attach at {host}:{port}", flush=True)
    if waits:
        print("Waiting for it before the script is loaded", flush=True)
        debugger.wait_for_client()


def _debugpy(wish: str) -> Any:
    """The environment's own, else the one that was brought."""
    try:
        return importlib.import_module("debugpy")
    except ModuleNotFoundError:
        sys.path.append(os.environ.get("PORTICO_DEBUGPY") or BESIDE)
    try:
        return importlib.import_module("debugpy")
    except ModuleNotFoundError as error:
        raise CannotStart(
            "UserScriptImportError",
            f"{wish}, and debugpy is not in the environment. Add debugpy to its packages, or remove "
            "the variable",
        ) from error
