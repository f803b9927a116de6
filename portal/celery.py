"""The Celery app, its queues, and everything that happens by the clock."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

PROVISION = "provision"
DEFAULT = "default"

app = Celery("portico")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(PROVISION), Queue(DEFAULT)]
app.conf.task_routes = {
    "deployments.tasks.advance": {"queue": PROVISION},
    "deployments.tasks.advance_sample": {"queue": PROVISION},
    "deployments.tasks.build_environment": {"queue": PROVISION},
}
# A worker whose broker went away must not run for a second time what it is still running.
app.conf.worker_cancel_long_running_tasks_on_connection_loss = False
app.conf.broker_connection_max_retries = None
app.autodiscover_tasks()


def _every(seconds: float, task: str) -> dict[str, Any]:
    """A ring of the doorbell: one that nobody heard in time is worth nothing, the next one follows."""
    options = {"queue": DEFAULT, "expires": max(seconds, 10)}
    return {"task": task, "schedule": seconds, "options": options}


# What happens by the clock, all of it. ------------------------------------------------------------
app.conf.beat_schedule = {
    "sweep deployments": _every(2, "deployments.tasks.sweep"),
    "prune the package cache": _every(7 * 86400, "deployments.tasks.prune_package_cache"),
    "tidy up": _every(3600, "deployments.tasks.tidy"),
    "say that the worker is alive": _every(10, "monitoring.tasks.worker_heartbeat"),
}
