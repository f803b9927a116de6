"""Why a saved object could not be read again: what it was saved with is most often not what is installed.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import pickle
import platform
import re
import sys
import traceback

from inference_server.start_failure import missing_module, own_frames, sentence

READS = re.compile(r"\b(?:pickle|joblib|cloudpickle|dill)\.loads?\(|\bUnpickler\(")
READERS = re.compile(r"[/\\](?:pickle|joblib|cloudpickle|dill)[/\\.]")
# What comes of a file that other versions wrote; of one that is no pickle, or a part of one.
OF_OTHER_VERSIONS = (AttributeError, ImportError, TypeError, ValueError, KeyError, IndexError)
OF_NO_PICKLE = (pickle.UnpicklingError, EOFError)
LIBRARIES = {
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "torch": "torch",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}
MOST_LIBRARIES = 4
LONGEST = 160


def why_unreadable(error: BaseException) -> str:
    """A sentence with the way out, when `error` came of reading a saved object; else nothing."""
    if not isinstance(error, (*OF_OTHER_VERSIONS, *OF_NO_PICKLE)) or not _was_reading(error):
        return ""
    missing = missing_module(error)
    if missing and "." not in missing:
        # The package itself is missing, which has words of its own.
        return ""
    said = sentence(error)
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    if isinstance(error, OF_NO_PICKLE):
        return (
            f"init() could not read a saved object: {said}. The file is cut off or is no pickle; "
            "register the model's files again"
        )
    return (
        f"init() could not read a saved object: {said}. It was most likely saved with other versions than are here "
        f"({', '.join(_versions())}): name the versions it was saved with in the conda file, or save it again"
    )


def _was_reading(error: BaseException) -> bool:
    for frame in traceback.extract_tb(own_frames(error)):
        if READS.search(frame.line or "") or READERS.search(frame.filename):
            return True
    return False


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for module, name in LIBRARIES.items():
        version = getattr(sys.modules.get(module), "__version__", "")
        if version:
            found.append(f"{name} {version}")
    return found[: 1 + MOST_LIBRARIES]
