"""A worker's log: the genuine server's lines on standard output, in UTC, print() included.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import builtins
import itertools
import json
import logging
import logging.config
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from inference_server.start_failure import CannotStart, sentence

MODEL_TREE_LINES = 200

logger = logging.getLogger("azmlinfsrv")
print_logger = logging.getLogger("azmlinfsrv.print")
plain_print = builtins.print


class UtcFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 I [pid] logger - text`."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s")


def configure_logging(options: dict[str, Any]) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(UtcFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(options["log_level"])
    logger.setLevel(logging.INFO)
    builtins.print = print_to_log
    script_folder = os.path.dirname(
        os.path.join(options["app_root"], options.get("entry_script") or "")
    )
    for folder in (options["app_root"], script_folder):
        path = os.path.join(folder, "logging.json")
        if not os.path.isfile(path):
            continue
        # The file may name the genuine server's formatter, which the shims hold.
        sys.path.append(options["shims"])
        try:
            with open(path, encoding="utf-8") as file:
                logging.config.dictConfig(json.load(file))
        except Exception as error:
            message = f"{path} cannot be used: {sentence(error)}"
            raise CannotStart("UserScriptInitFailed", message) from error
        finally:
            sys.path.remove(options["shims"])
        logger.info("Loaded logging config from %s", path)
        return


def print_to_log(
    *values: object,
    sep: str | None = " ",
    end: str | None = "\n",
    file: Any = None,
    flush: bool = False,
) -> None:
    """print() as a log line, so that it carries a time; to another file it stays what it is."""
    if file is None or file is sys.stdout:
        print_logger.info("%s", (" " if sep is None else sep).join(map(str, values)))
    else:
        plain_print(*values, sep=sep, end=end, file=file, flush=flush)


def log_tree(folder: str) -> None:
    """Shows what is in the model folder: most failures of init() are a path that is not there."""
    if not os.path.isdir(folder):
        return
    logger.info("Model Directory Contents:")
    lines = tree(folder)
    for line in itertools.islice(lines, MODEL_TREE_LINES):
        logger.info("%s", line)
    if next(lines, None) is not None:
        logger.info("Output Truncated. First %s lines shown.", MODEL_TREE_LINES)


def tree(path: str, depth: int = 0) -> Iterator[str]:
    name = " " * 4 * depth + os.path.basename(os.path.normpath(path))
    if not os.path.isdir(path):
        yield name
        return
    yield name + os.sep
    for child in sorted(os.listdir(path)):
        yield from tree(os.path.join(path, child), depth + 1)
