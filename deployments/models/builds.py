"""Builds of registered environments, apart from any deployment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import EnvironmentVersion, User


class EnvironmentBuild(Lifecycle):
    """One build of an environment version, asked for by somebody: its log and its result are kept."""

    class State(models.TextChoices):
        QUEUED = "Queued"
        RUNNING = "Running"
        SUCCEEDED = "Succeeded"
        FAILED = "Failed"
        CANCELED = "Canceled"

    OPEN: ClassVar[tuple[str, ...]] = (State.QUEUED, State.RUNNING)
    MOVES: ClassVar[Mapping[str, set[str]]] = {
        State.QUEUED: {State.RUNNING, State.CANCELED, State.FAILED},
        State.RUNNING: {State.SUCCEEDED, State.FAILED, State.CANCELED},
    }

    environment_version = models.ForeignKey(
        EnvironmentVersion, on_delete=models.CASCADE, related_name="builds"
    )
    runtime = models.CharField(max_length=20)
    """For which it is built: `docker` makes an image, `process` a folder of this machine."""
    attempts = models.PositiveSmallIntegerField(default=0)
    """How often a worker took it up; more than once when one was killed."""
    cancel_requested = models.BooleanField(default=False)
    log = models.TextField(blank=True)
    failure = models.JSONField(default=dict, blank=True)
    """Why it failed, as `deployments.failures` has it; empty otherwise."""
    image = models.CharField(max_length=255, blank=True)
    """The image's identity on the engine, where one was made."""
    key = models.CharField(max_length=64, blank=True)
    """The content hash under which it is found again."""
    python_version = models.CharField(max_length=20, blank=True)
    """Inside; empty for a custom container without one."""
    size_bytes = models.BigIntegerField(null=True, blank=True)
    was_cached = models.BooleanField(default=False)
    """It had been built before."""
    warnings = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = LifecycleQuerySet["EnvironmentBuild"].as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        verbose_name = "environment build"
        constraints = (
            models.UniqueConstraint(
                fields=("environment_version",),
                condition=models.Q(state__in=("Queued", "Running")),
                name="environment_build_open",
            ),
        )

    def __str__(self) -> str:
        return f"build {self.pk} of {self.environment_version}"

    @property
    def is_busy(self) -> bool:
        return self.state in self.OPEN

    @property
    def duration(self) -> timedelta | None:
        """Since a worker took it up; None before."""
        if self.started_at is None:
            return None
        return (self.ended_at or timezone.now()) - self.started_at
