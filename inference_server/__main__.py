"""`python -m inference_server --entry_script score.py`: serves an Azure ML scoring script."""

import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop

from inference_server.server import Server
from inference_server.settings import (
    Settings,
    SettingsError,
    banner,
    read_settings,
    worker_environment,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until told to stop; returns the exit code (3: the script cannot be served)."""
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    except SettingsError as error:
        print(f"Error! {error}", file=sys.stderr)
        return error.exit_code
    print(banner(settings, os.environ), flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    return await Server(settings, worker_environment(settings, os.environ)).run()


if __name__ == "__main__":
    sys.exit(main())
