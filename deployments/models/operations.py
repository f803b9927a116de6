"""The operations on online deployments, and their phases."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from deployments.models.online import OnlineDeployment
from workspaces.models import User


class Operation(models.Model):
    """One create, update or delete, with its phases."""

    class Kind(models.TextChoices):
        CREATE = "create"
        UPDATE = "update"
        SCALE = "scale"
        DELETE = "delete"

    class State(models.TextChoices):
        RUNNING = "Running"
        SUCCEEDED = "Succeeded"
        FAILED = "Failed"
        CANCELED = "Canceled"

    deployment = models.ForeignKey(
        OnlineDeployment, on_delete=models.CASCADE, related_name="operations"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    revision_number = models.PositiveIntegerField(null=True, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    started_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    failure = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-started_at", "-pk")
        indexes = (models.Index(fields=("deployment", "-started_at"), name="operation_recent"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.deployment.name}"

    @property
    def duration(self) -> timedelta:
        return (self.ended_at or timezone.now()) - self.started_at


class Phase(models.Model):
    """A named stretch of an operation (design §6)."""

    class Name(models.TextChoices):
        VALIDATE = "Validate"
        FETCH_MODEL = "Fetch model"
        BUILD_ENVIRONMENT = "Build environment"
        START = "Start"
        LOAD_MODEL = "Load model"
        PROBE = "Probe"
        REGISTER_ROUTE = "Register route"
        REMOVE = "Remove"

    class State(models.TextChoices):
        RUNNING = "Running"
        SUCCEEDED = "Succeeded"
        FAILED = "Failed"
        CANCELED = "Canceled"

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="phases")
    name = models.CharField(max_length=20, choices=Name.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    expected_seconds = models.FloatField(null=True, blank=True)
    """Median of earlier runs of the same phase in this workspace; null when there is no history."""
    build_kind = models.CharField(max_length=40, blank=True, default="")
    """Of a build: runtime and what is built, such as `docker Dockerfile`; `found` when it had been built before."""
    deadline_at = models.DateTimeField(null=True, blank=True)
    log = models.TextField(blank=True)

    class Meta:
        ordering = ("started_at", "pk")
        constraints = (models.UniqueConstraint(fields=("operation", "name"), name="phase_once"),)

    def __str__(self) -> str:
        return self.name

    @property
    def duration(self) -> timedelta:
        return (self.ended_at or timezone.now()) - self.started_at
