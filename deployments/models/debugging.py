"""Debug sessions: an instance more, for somebody who looks into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from django.db import models
from django.utils import timezone

from deployments.models.online import OnlineDeployment, Revision
from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import User

SUFFIX = ".debug"
"""No deployment has a dot in its name, so the name that requests give is nobody else's."""


class DebugSession(Lifecycle):
    """One instance of a deployment that is in no split, with a debugger's port, until its time is over."""

    class State(models.TextChoices):
        STARTING = "Starting"
        RUNNING = "Running"
        FAILED = "Failed"
        STOPPING = "Stopping"

    MOVES: ClassVar[Mapping[str, set[str]]] = {
        State.STARTING: {State.RUNNING, State.FAILED, State.STOPPING},
        State.RUNNING: {State.STARTING, State.FAILED, State.STOPPING},
        State.FAILED: {State.STARTING, State.STOPPING},
    }

    deployment = models.OneToOneField(
        OnlineDeployment, on_delete=models.PROTECT, related_name="debug_session"
    )
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=120, unique=True)
    """Of what runs, among the names of instances."""
    address = models.CharField(max_length=255, blank=True)
    debug_host = models.CharField(max_length=255, blank=True)
    debug_port = models.PositiveIntegerField(default=0)
    code = models.CharField(max_length=60, blank=True)
    reason = models.TextField(blank=True)
    """Why it failed."""
    evidence = models.JSONField(default=list, blank=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = LifecycleQuerySet["DebugSession"].as_manager()

    class Meta:
        verbose_name = "debug session"

    def __str__(self) -> str:
        return self.name

    @property
    def upstream_name(self) -> str:
        """What requests name in `azureml-model-deployment`."""
        return f"{self.deployment.name}{SUFFIX}"

    @property
    def is_busy(self) -> bool:
        return self.state in (self.State.STARTING, self.State.STOPPING)
