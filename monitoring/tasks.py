"""What the worker does for monitoring."""

from __future__ import annotations

from celery import shared_task

from monitoring import heartbeat


@shared_task(ignore_result=True)
def worker_heartbeat() -> None:
    """Proves that beat, broker and worker do their work: all three are needed for it to run."""
    heartbeat.beat(heartbeat.WORKER)
