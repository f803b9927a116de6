"""Deployments, their revisions, the operations on them, and the instances that run them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from endpoints.models import BatchEndpoint, OnlineEndpoint
from workspaces import vault
from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import (
    CodeVersion,
    ComponentVersion,
    EnvironmentVersion,
    InstanceType,
    ModelVersion,
    User,
    Workspace,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


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
        return sum(instance.state == Instance.State.HEALTHY for instance in self.instances.all())

    def current_operation(self) -> Operation | None:
        """The newest operation, running or ended."""
        return self.operations.order_by("-started_at", "-pk").first()


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
    model_mount_path = models.CharField(max_length=255, blank=True)
    app_insights_enabled = models.BooleanField(default=False)
    data_collector = models.JSONField(default=dict, blank=True)
    egress_public_network_access = models.CharField(max_length=8, default="enabled")
    private_network_connection = models.BooleanField(default=False)
    scale_type = models.CharField(max_length=30, default="default")
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


class Instance(models.Model):
    """One running copy of a revision; the row comes before the process and goes after it."""

    class State(models.TextChoices):
        STARTING = "Starting"
        HEALTHY = "Healthy"
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
    """Since when a healthy instance does not answer its probe, though it runs."""
    remove_after = models.DateTimeField(null=True, blank=True)
    """When draining: requests in flight have until then."""
    code = models.CharField(max_length=60, blank=True)
    reason = models.TextField(blank=True)
    evidence = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
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


PROBE_DEFAULTS: dict[str, Any] = {
    "initial_delay": 10,
    "period": 10,
    "timeout": 2,
    "success_threshold": 1,
    "failure_threshold": 30,
}
"""Seconds and counts (facts 2.2.2)."""


class BatchDeployment(models.Model):
    """What a job of a batch endpoint runs (facts 2.5): a model with code, or a pipeline component.

    It holds nothing while no job runs, so there is nothing to provision.
    """

    class Type(models.TextChoices):
        MODEL = "model"
        PIPELINE = "pipeline"

    class OutputAction(models.TextChoices):
        APPEND_ROW = "append_row"
        SUMMARY_ONLY = "summary_only"

    class LoggingLevel(models.TextChoices):
        WARNING = "warning"
        INFO = "info"
        DEBUG = "debug"

    endpoint = models.ForeignKey(
        BatchEndpoint, on_delete=models.CASCADE, related_name="deployments"
    )
    name = models.CharField(max_length=32)
    type = models.CharField(max_length=8, choices=Type.choices, default=Type.MODEL)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    model_version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="batch_uses"
    )
    code_version = models.ForeignKey(
        CodeVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="batch_uses"
    )
    scoring_script = models.CharField(max_length=500, blank=True)
    environment_version = models.ForeignKey(
        EnvironmentVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="batch_uses",
    )
    environment_variables_sealed = models.TextField(blank=True)
    compute = models.CharField(max_length=24, blank=True)
    """Name of a compute: it may be deleted and made anew, as at Azure."""
    instance_count = models.PositiveIntegerField(default=1)
    """Nodes of one job."""
    max_concurrency_per_instance = models.PositiveIntegerField(default=1)
    mini_batch_size = models.PositiveIntegerField(default=10)
    """Files handed to one call of `run()`."""
    error_threshold = models.IntegerField(default=-1)
    """Failed items that a job bears; -1 for any number."""
    max_retries = models.PositiveIntegerField(default=3)
    timeout_seconds = models.PositiveIntegerField(default=30)
    """Of one call of `run()`."""
    logging_level = models.CharField(
        max_length=7, choices=LoggingLevel.choices, default=LoggingLevel.INFO
    )
    output_action = models.CharField(
        max_length=12, choices=OutputAction.choices, default=OutputAction.APPEND_ROW
    )
    output_file_name = models.CharField(max_length=255, default="predictions.csv")
    component_version = models.ForeignKey(
        ComponentVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="batch_uses",
    )
    pipeline_settings = models.JSONField(default=dict, blank=True)
    """`default_compute`, `default_datastore`, `continue_on_step_failure`, `force_rerun`."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("endpoint_id", "name")
        verbose_name = "batch deployment"
        constraints = (
            models.UniqueConstraint(Lower("name"), "endpoint", name="batch_deployment_name"),
            models.CheckConstraint(
                condition=models.Q(
                    instance_count__gte=1, mini_batch_size__gte=1, error_threshold__gte=-1
                ),
                name="batch_deployment_numbers",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def environment_variables(self) -> dict[str, str]:
        return vault.unseal_map(self.environment_variables_sealed)

    @property
    def is_default(self) -> bool:
        return self.endpoint.default_deployment == self.name

    @property
    def arm_id(self) -> str:
        return f"{self.endpoint.arm_id}/deployments/{self.name}"


class SampleLoad(Lifecycle):
    """The wish to have the sample endpoint in a workspace, worked off like any other."""

    class State(models.TextChoices):
        WANTED = "Wanted"
        DEPLOYING = "Deploying"
        DONE = "Done"
        FAILED = "Failed"

    MOVES: ClassVar[Mapping[str, set[str]]] = {
        State.WANTED: {State.DEPLOYING, State.FAILED},
        State.DEPLOYING: {State.DONE, State.FAILED},
        State.DONE: {State.WANTED},
        State.FAILED: {State.WANTED},
    }

    workspace = models.OneToOneField(
        Workspace, on_delete=models.CASCADE, related_name="sample_load"
    )
    wanted_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    message = models.TextField(blank=True)
    """What it does, or why it failed."""

    objects = LifecycleQuerySet["SampleLoad"].as_manager()

    class Meta:
        verbose_name = "sample"

    def __str__(self) -> str:
        return f"sample of {self.workspace}"
