"""Wakes the worker after a commit. A lost ring costs a second or two: the sweep finds what is due."""

from __future__ import annotations

import logging
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def ring(deployment_id: int) -> None:
    """Have the deployment advanced as soon as this transaction is committed."""
    transaction.on_commit(partial(_send, "deployments.tasks.advance", deployment_id))


def ring_build(build_id: int) -> None:
    """Have the environment built as soon as this transaction is committed."""
    transaction.on_commit(partial(_send, "deployments.tasks.build_environment", build_id))


def ring_sweep() -> None:
    """Have everything that is due looked at as soon as this transaction is committed."""
    transaction.on_commit(partial(_send, "deployments.tasks.sweep"))


def _send(task: str, *arguments: int) -> None:
    try:
        current_app.send_task(task, arguments, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("doorbell not heard: %s (%s)", task, error)
