"""What runs: instances, and the stretches of time for which they cost."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from deployments.models.online import OnlineDeployment, Revision
from workspaces.models import Workspace


class Instance(models.Model):
    """One running copy of a revision; the row comes before the process and goes after it."""

    class State(models.TextChoices):
        STARTING = "Starting"
        HEALTHY = "Healthy"
        UNREADY = "Unready"
        EXITED = "Exited"
        DRAINING = "Draining"

    deployment = models.ForeignKey(
        OnlineDeployment, on_delete=models.PROTECT, related_name="instances"
    )
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="instances")
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=120, unique=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.STARTING)
    address = models.CharField(max_length=255, blank=True)
    restarts = models.PositiveIntegerField(default=0)
    start_after = models.DateTimeField(default=timezone.now)
    """Not to be started before: the growing pause after a crash."""
    doubted_at = models.DateTimeField(null=True, blank=True)
    """Since when an instance stays in the routes though it answers its readiness probe too late."""
    probes = models.JSONField(default=dict, blank=True, db_default={})
    """What probing remembers between looks: `deployments.probes`."""
    remove_after = models.DateTimeField(null=True, blank=True)
    """When draining: requests in flight have until then."""
    code = models.CharField(max_length=60, blank=True)
    reason = models.TextField(blank=True)
    evidence = models.JSONField(default=list, blank=True)
    node = models.CharField(max_length=120, blank=True, default="", db_default="")
    """The engine it runs on, where there are several; empty for this machine."""
    last_exit = models.JSONField(default=dict, blank=True, db_default={})
    """How it ended last: `{at, code, reason, evidence, exit_code}`, kept when it is well again; else empty."""
    restart_requested_at = models.DateTimeField(null=True, blank=True)
    """Since when somebody wants it stopped and started again: `deployments.replacing`."""
    is_leaving = models.BooleanField(default=False, db_default=False)
    """Somebody wants a fresh one in its place."""
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    """Since when this very run goes on."""
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("number", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("deployment", "revision", "number"), name="instance_number"
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_healthy(self) -> bool:
        return self.state == self.State.HEALTHY


class InstanceSpan(models.Model):
    """A stretch of time in which an instance was held, at its price then: the ground of every cost.

    Names, not foreign keys: costs outlive what caused them.
    """

    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="instance_spans"
    )
    endpoint_name = models.CharField(max_length=32)
    deployment_name = models.CharField(max_length=32)
    instance_name = models.CharField(max_length=120)
    instance_type = models.CharField(max_length=60)
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-started_at",)
        indexes = (
            models.Index(
                fields=("workspace", "endpoint_name", "started_at"), name="instance_span_endpoint"
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("instance_name", "started_at"), name="instance_span_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.instance_name} from {self.started_at:%Y-%m-%d %H:%M}"
