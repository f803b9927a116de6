"""Starts a worker: `python start_worker.py '{"entry_script": ...}'`, in any Python from 3.8 on.

The package is loaded from where this file lies, without putting that place on the user's
`sys.path`: there it could hide, or be hidden by, what the environment holds.
"""

import importlib.util
import os
import sys


def load_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or os.curdir) != here]
    spec = importlib.util.spec_from_file_location(
        "inference_server", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["inference_server"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load_package()
    importlib.import_module("inference_server.worker").main()
