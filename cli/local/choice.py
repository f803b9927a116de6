"""Whether a local deployment runs in a process or in a container."""

from __future__ import annotations

import os

from cli.faults import UsageFault
from cli.local.engine import engine
from cli.local.records import DOCKER, PROCESS
from cli.local.wishes import Wish

RUNTIME_VARIABLE = "PORTICO_LOCAL_RUNTIME"
AUTO = "auto"


def runtime_for(wish: Wish) -> tuple[str, tuple[str, ...]]:
    """`process` or `docker`, and warnings about what is left out; `UsageFault` when neither can be.

    Docker where the environment names an image or a build context, or is a custom container, and an engine answers.
    """
    told = os.environ.get(RUNTIME_VARIABLE) or AUTO
    if told not in {AUTO, PROCESS, DOCKER}:
        raise UsageFault(f"{RUNTIME_VARIABLE} is '{told}'. It is one of auto, docker, process.")
    around = wish.surroundings
    # A debugger that listens on this machine is reached by a process alone.
    is_free = wish.calls_debugger and not around.needs_docker
    if told == AUTO and (is_free or not around.asks_for_docker):
        return PROCESS, _left_out(wish, "the script connects to a debugger of this machine")
    why = f"{RUNTIME_VARIABLE} is process" if told == PROCESS else engine().reason
    if not why:
        _check_gpu(wish)
        return DOCKER, ()
    if told == DOCKER:
        raise UsageFault(f"{RUNTIME_VARIABLE} is docker, and no container can be started. {why}")
    if around.needs_docker:
        what = "is a custom container" if around.routes else "has a Docker build context"
        raise UsageFault(
            f"The environment {what}, which needs Docker. {why}{'' if why.endswith('.') else '.'} Start a Docker "
            "engine, or give a conda file and a scoring script."
        )
    return PROCESS, _left_out(wish, why)


def _left_out(wish: Wish, why: str) -> tuple[str, ...]:
    if not wish.surroundings.image or wish.surroundings.is_image_alone:
        return ()
    return (
        f"The image {wish.surroundings.image} is not used ({why.rstrip('.')}): the deployment is a process with the "
        "packages of the conda file.",
    )


def _check_gpu(wish: Wish) -> None:
    if wish.wants_gpu and not engine().has_gpus:
        raise UsageFault(
            "--local-enable-gpu asks for a GPU, and the Docker engine offers none: it has no NVIDIA runtime. Install "
            "the NVIDIA container toolkit, or leave the flag out."
        )
