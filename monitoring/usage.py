"""Samples what every running instance uses of its processor and memory."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import psutil

from deployments.installation import runtime_of
from deployments.models import Instance
from monitoring.rollups import UsageKey, add_usage, minute_of

logger = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


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
