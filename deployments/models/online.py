"""Online deployments and their revisions: what is wanted, and what serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from endpoints.models import OnlineEndpoint
from workspaces import vault
from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import (
    CodeVersion,
    Compute,
    EnvironmentVersion,
    InstanceType,
    ModelVersion,
    User,
    Workspace,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from deployments.models.operations import Operation


class DeploymentState(models.TextChoices):
    CREATING = "Creating"
    UPDATING = "Updating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"


class OnlineDeploymentQuerySet(LifecycleQuerySet["OnlineDeployment"]):
    def visible_to(self, user: User | AnonymousUser) -> OnlineDeploymentQuerySet:
        return self.filter(endpoint__workspace__in=Workspace.objects.visible_to(user))


class OnlineDeployment(Lifecycle):
    """A model with code and environment that answers behind an endpoint (facts 2.2)."""

    class Type(models.TextChoices):
        MANAGED = "managed"
        KUBERNETES = "kubernetes"

    _BUSY_ENDS: ClassVar[set[str]] = {
        DeploymentState.SUCCEEDED,
        DeploymentState.FAILED,
        DeploymentState.DELETING,
    }
    MOVES: ClassVar[Mapping[str, set[str]]] = {
        DeploymentState.CREATING: _BUSY_ENDS,
        DeploymentState.UPDATING: _BUSY_ENDS,
        DeploymentState.SUCCEEDED: {DeploymentState.UPDATING, DeploymentState.DELETING},
        DeploymentState.FAILED: {DeploymentState.UPDATING, DeploymentState.DELETING},
        DeploymentState.DELETING: set(),
    }

    endpoint = models.ForeignKey(
        OnlineEndpoint, on_delete=models.PROTECT, related_name="deployments"
    )
    name = models.CharField(max_length=32)
    type = models.CharField(max_length=10, choices=Type.choices, default=Type.MANAGED)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    instance_count = models.PositiveSmallIntegerField(default=1)
    revision = models.ForeignKey(
        "Revision", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    """What is wanted."""
    serving_revision = models.ForeignKey(
        "Revision", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    """What answers: the last revision that became ready; it goes on when an update fails."""
    failure = models.JSONField(default=dict, blank=True)
    """Why the last operation failed: `{code, phase, cause, evidence, fixes}`; empty otherwise."""
    cancel_requested = models.BooleanField(default=False)
    takes_traffic_when_ready = models.BooleanField(default=False, db_default=False)
    """Wished for when it was made: all live traffic, once it is ready, if nothing else has any by then."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = OnlineDeploymentQuerySet.as_manager()

    class Meta:
        ordering = ("endpoint_id", "name")
        verbose_name = "online deployment"
        constraints = (
            models.UniqueConstraint(Lower("name"), "endpoint", name="deployment_name"),
            models.CheckConstraint(
                condition=models.Q(instance_count__gte=1), name="deployment_instance_count"
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_busy(self) -> bool:
        return self.state in {
            DeploymentState.CREATING,
            DeploymentState.UPDATING,
            DeploymentState.DELETING,
        }

    @property
    def live_percent(self) -> int:
        return int(self.endpoint.traffic.get(self.name, 0))

    @property
    def mirrored_percent(self) -> int:
        return int(self.endpoint.mirror_traffic.get(self.name, 0))

    @property
    def arm_id(self) -> str:
        return f"{self.endpoint.arm_id}/deployments/{self.name}"

    def ready_count(self) -> int:
        """Instances that answer now."""
        return sum(instance.is_healthy for instance in self.instances.all())

    def current_operation(self) -> Operation | None:
        """The newest operation, running or ended."""
        return self.operations.order_by("-started_at", "-pk").first()


PROBE_DEFAULTS: dict[str, Any] = {
    "initial_delay": 10,
    "period": 10,
    "timeout": 2,
    "success_threshold": 1,
    "failure_threshold": 30,
}
"""Seconds and counts (facts 2.2.2)."""


class Revision(models.Model):
    """One immutable wish: everything that decides what an instance runs."""

    deployment = models.ForeignKey(
        OnlineDeployment, on_delete=models.CASCADE, related_name="revisions"
    )
    number = models.PositiveIntegerField()
    model_version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="revisions"
    )
    code_version = models.ForeignKey(
        CodeVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="revisions"
    )
    scoring_script = models.CharField(max_length=500, blank=True)
    environment_version = models.ForeignKey(
        EnvironmentVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="revisions",
    )
    environment_variables_sealed = models.TextField(blank=True)
    instance_type = models.ForeignKey(
        InstanceType, on_delete=models.PROTECT, related_name="revisions"
    )
    request_timeout_ms = models.PositiveIntegerField(default=5000)
    max_concurrent_requests_per_instance = models.PositiveIntegerField(default=1)
    max_queue_wait_ms = models.PositiveIntegerField(default=500)
    liveness_probe = models.JSONField(default=dict, blank=True)
    readiness_probe = models.JSONField(default=dict, blank=True)
    startup_probe = models.JSONField(default=dict, blank=True)
    model_mount_path = models.CharField(max_length=255, blank=True)
    app_insights_enabled = models.BooleanField(default=False)
    data_collector = models.JSONField(default=dict, blank=True)
    egress_public_network_access = models.CharField(max_length=8, default="enabled")
    private_network_connection = models.BooleanField(default=False)
    scale_type = models.CharField(max_length=30, default="default")
    runtime = models.CharField(max_length=20, blank=True, default="", db_default="process")
    """What runs its instances, chosen when the revision was made; empty for the installation's choice of now."""
    compute = models.ForeignKey(
        Compute, null=True, blank=True, on_delete=models.PROTECT, related_name="revisions"
    )
    """The attached compute whose own engines run it; null for the installation's."""
    image = models.CharField(max_length=255, blank=True, db_default="")
    """The image that was built for it, by its identity on the engine; empty where the runtime uses none."""
    warnings = models.JSONField(default=list, blank=True)
    """Sentences about what was accepted but does not hold here, such as a capped limit."""
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(fields=("deployment", "number"), name="revision_number"),
        )

    def __str__(self) -> str:
        return f"{self.deployment.name} revision {self.number}"

    @property
    def environment_variables(self) -> dict[str, str]:
        return vault.unseal_map(self.environment_variables_sealed)
