"""The programs of the control plane: how each is started, asked whether it is ready, and stopped."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path

from django.conf import settings

from deployments.engines import runtime_name
from portal.processes import Program

PYTHON_ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "portal.settings",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    # Images of containers often set it; without compiled modules, every start compiles them all again.
    "PYTHONDONTWRITEBYTECODE": "",
}


def python_environment() -> dict[str, str]:
    """What our own programs get; all of them run deployments on what was found when this process started."""
    return {**PYTHON_ENVIRONMENT, "PORTICO_RUNTIME": runtime_name()}


def web(listening: socket.socket) -> Program:
    """Studio and API. The supervisor holds the socket, so callers wait in line while `web` is replaced."""
    number = listening.fileno()
    return _python(
        "web",
        *("-m", "uvicorn", "portal.asgi:application", "--fd", str(number)),
        *(
            "--lifespan",
            "on",
            "--ws",
            "websockets-sansio",
            "--no-access-log",
            "--no-server-header",
        ),
        *("--proxy-headers", "--forwarded-allow-ips", "*"),  # only Envoy can reach the socket
        *("--timeout-graceful-shutdown", "8"),
        files=(number,),
    )


def worker() -> Program:
    return _python(
        "worker",
        *("-m", "celery", "-A", "portal", "worker", "--pool", "threads", "--concurrency", "8"),
        *("-Q", "provision,default", "--without-gossip", "--without-mingle"),
        *("--hostname", f"portico-{settings.INSTALLATION}@%h", "--loglevel", "INFO"),
        stop_seconds=20,
    )


def beat() -> Program:
    # The plain scheduler keeps nothing on disk that a crash could damage; every entry is short.
    return _python(
        "beat",
        *("-m", "celery", "-A", "portal", "beat", "--scheduler", "celery.beat:Scheduler"),
        *("--loglevel", "WARNING"),
    )


def watch() -> Program:
    return _python("watch", "-m", "cli", "watch")


def control_plane(listening: socket.socket) -> list[Program]:
    """What `portico restart` replaces, in the order of starting."""
    return [web(listening), watch(), worker(), beat()]


def prepare_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "cli", "prepare", "--when-told", *options]


def stop_instances_command() -> list[str]:
    return [sys.executable, "-m", "cli", "stop-instances"]


def _python(
    name: str, *words: str, stop_seconds: float = 10, files: tuple[int, ...] = ()
) -> Program:
    return Program(
        name=name,
        argv=(sys.executable, *words),
        cwd=settings.BASE_DIR,
        environment=python_environment(),
        is_ready=_always,
        stop_seconds=stop_seconds,
        inherited_files=files,
    )


def _always() -> bool:
    return True


def listen(path: Path) -> socket.socket:
    """A listening socket that only this user can reach."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(1024)
    return listening


def answers(port: int) -> bool:
    """Whether the portal says that it is well, asked the way a browser asks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
