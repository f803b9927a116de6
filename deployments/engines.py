"""Which Docker engines there are by the settings, and so what deployments run on. Needs no models and no SDK."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from deployments.runtimes.docker.addresses import EngineAddress, addresses, answers

AUTO = "auto"


def engines() -> tuple[EngineAddress, ...]:
    """The engines that run containers: one, or a pool."""
    return addresses(
        settings.DOCKER_ENGINES,
        host=settings.DOCKER_HOST,
        cert_path=settings.DOCKER_CERT_PATH,
        tls_verify=settings.DOCKER_TLS_VERIFY,
    )


def silent_engines() -> list[EngineAddress]:
    """Those that do not answer right now."""
    return [each for each in engines() if not answers(each)]


def runtime_name() -> str:
    """What new revisions run on unless their compute says otherwise."""
    chosen = str(settings.DEPLOYMENT_RUNTIME)
    return automatic_runtime() if chosen == AUTO else chosen


@cache
def automatic_runtime() -> str:
    """`docker` where an engine answers, else `process`; looked at once in the life of a process."""
    return "process" if silent_engines() else "docker"


def runtime_sentence() -> str:
    """For people: what deployments run on, and why."""
    where = ", ".join(each.url for each in engines())
    why = "" if settings.DEPLOYMENT_RUNTIME == AUTO else " (PORTICO_RUNTIME)"
    if runtime_name() == "docker":
        return f"containers on {where}{why}"
    if runtime_name() == "process":
        return f"processes of this machine{why or f': no Docker engine answers at {where}'}"
    return runtime_name()
