"""Samples what every running instance uses of its processor and memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

from deployments.installation import runtime_of
from deployments.models import Instance, OnlineDeployment
from monitoring.models import UsageMinute
from monitoring.rollups import UsageKey, add_usage, minute_of

logger = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
RECENT = timedelta(minutes=2)


@dataclass(frozen=True)
class Latest:
    """What an instance used in the newest minute, in percent of its own limits."""

    cpu_percent: float
    memory_percent: float


def latest_usage(deployment: OnlineDeployment) -> dict[str, Latest]:
    """Name of each instance that was measured just now → its figures; one query."""
    rows = UsageMinute.objects.filter(
        endpoint_name=deployment.endpoint.name,
        deployment_name=deployment.name,
        at__gte=datetime.now(UTC) - RECENT,
    ).order_by("at")
    # Later minutes take the place of earlier ones.
    return {
        row.instance_name: Latest(row.cpu_sum / row.samples, row.memory_sum / row.samples)
        for row in rows
    }


def collect() -> int:
    """Take one sample of each instance that should run; how many there were."""
    minute = minute_of(datetime.now(UTC))
    samples: dict[UsageKey, tuple[float, float]] = {}
    instances = Instance.objects.exclude(state=Instance.State.EXITED).select_related(
        "revision", "deployment__endpoint"
    )
    for instance in instances:
        name, deployment = instance.name, instance.deployment
        try:
            usage = runtime_of(instance.revision).usage(name)
        except (OSError, psutil.Error) as error:
            logger.warning("usage of instance %s is not known: %s", name, error)
            continue
        if usage is not None:
            memory = 100 * usage.memory_bytes / max(1, usage.memory_limit_bytes)
            samples[UsageKey(minute, deployment.endpoint.name, deployment.name, name)] = (
                usage.cpu_percent,
                memory,
            )
    add_usage(samples)
    return len(samples)
