"""Samples what every running instance uses of its processor and memory."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import psutil

from deployments.models import Instance
from deployments.runtimes import Runtime
from monitoring.rollups import UsageKey, add_usage, minute_of

logger = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


def collect(runtime: Runtime) -> int:
    """Take one sample of each instance that should run; how many there were."""
    minute = minute_of(datetime.now(UTC))
    samples: dict[UsageKey, tuple[float, float]] = {}
    instances = Instance.objects.exclude(state=Instance.State.EXITED).values_list(
        "name", "deployment__name", "deployment__endpoint__name"
    )
    for name, deployment, endpoint in instances:
        try:
            usage = runtime.usage(name)
        except (OSError, psutil.Error) as error:
            logger.warning("usage of instance %s is not known: %s", name, error)
            continue
        if usage is not None:
            memory = 100 * usage.memory_bytes / max(1, usage.memory_limit_bytes)
            samples[UsageKey(minute, endpoint, deployment, name)] = (usage.cpu_percent, memory)
    add_usage(samples)
    return len(samples)
