"""Instance types: what one instance may use, and what that costs; and the computes made of them."""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from workspaces.models.people import User
from workspaces.models.tenancy import Workspace


class InstanceType(models.Model):
    """A size with Azure's SKU name (facts 3.5), so that Azure's YAML runs; the operator sets the price."""

    name = models.CharField(max_length=60)
    family = models.CharField(max_length=40, blank=True)
    cores = models.DecimalField(
        max_digits=6, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))]
    )
    memory_bytes = models.BigIntegerField(validators=[MinValueValidator(64 * 1024**2)])
    gpu_count = models.PositiveSmallIntegerField(default=0)
    gpu_model = models.CharField(max_length=40, blank=True)
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4, default=Decimal(0))
    is_enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("cores", "memory_bytes", "name")
        constraints = (models.UniqueConstraint(Lower("name"), name="instance_type_name"),)

    def __str__(self) -> str:
        return self.name


class Compute(models.Model):
    """A cluster on which batch jobs run (facts 2.12), or an attached compute of kind Kubernetes, by name.

    A cluster holds nothing while no job runs, so there is nothing to provision: it is ready when it is written. An
    attached one says where the deployments of the endpoints that name it run.
    """

    class Kind(models.TextChoices):
        AMLCOMPUTE = "amlcompute"
        KUBERNETES = "kubernetes"

    class Tier(models.TextChoices):
        DEDICATED = "dedicated"
        LOW_PRIORITY = "low_priority"

    class SshAccess(models.TextChoices):
        NOT_SPECIFIED = "not_specified"
        ENABLED = "enabled"
        DISABLED = "disabled"

    class Runtime(models.TextChoices):
        AS_INSTALLATION = ""
        PROCESS = "process"
        DOCKER = "docker"

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="computes")
    name = models.CharField(max_length=24)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.AMLCOMPUTE)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    location = models.CharField(max_length=40, default="local")
    identity = models.JSONField(default=dict, blank=True)
    instance_type = models.ForeignKey(
        InstanceType, null=True, blank=True, on_delete=models.PROTECT, related_name="computes"
    )
    """Of a cluster; null for Kubernetes, which has instance types of its own."""
    tier = models.CharField(max_length=12, choices=Tier.choices, default=Tier.DEDICATED)
    min_instances = models.PositiveIntegerField(default=0)
    max_instances = models.PositiveIntegerField(default=1)
    idle_seconds = models.PositiveIntegerField(default=120)
    """How long a node may be idle before it is given back."""
    ssh_public_access = models.CharField(
        max_length=13, choices=SshAccess.choices, default=SshAccess.NOT_SPECIFIED
    )
    ssh_settings = models.JSONField(default=dict, blank=True)
    """`admin_username` and `ssh_key_value`; kept for YAML's sake, never a password."""
    subnet = models.CharField(max_length=500, blank=True)
    has_node_public_ip = models.BooleanField(default=True)
    resource_id = models.CharField(max_length=500, blank=True)
    """Of the attached Kubernetes cluster."""
    namespace = models.CharField(max_length=63, blank=True)
    default_instance_type = models.CharField(max_length=60, blank=True)
    instance_types = models.JSONField(default=dict, blank=True)
    """Name → what Kubernetes calls node selector and resources, as it was given."""
    runtime = models.CharField(
        max_length=20, choices=Runtime.choices, blank=True, default="", db_default=""
    )
    """Of an attached one: what new revisions run on; empty for docker where it has engines, else the installation's."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(Lower("name"), "workspace", name="compute_name"),
            models.CheckConstraint(
                condition=models.Q(min_instances__lte=models.F("max_instances")),
                name="compute_instances",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="kubernetes") | models.Q(instance_type__isnull=False),
                name="compute_instance_type",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def arm_id(self) -> str:
        return f"{self.workspace.arm_id}/computes/{self.name}"

    @property
    def is_cluster(self) -> bool:
        return self.kind == self.Kind.AMLCOMPUTE


class ComputeEngine(models.Model):
    """A Docker engine of an attached compute: whoever may set its address is root on its host."""

    compute = models.ForeignKey(Compute, on_delete=models.CASCADE, related_name="engines")
    name = models.CharField(max_length=63)
    url = models.CharField(max_length=255)
    """`unix://`, `tcp://` or `ssh://`."""
    cert_path = models.CharField(max_length=500, blank=True)
    """Folder with `ca.pem`, `cert.pem` and `key.pem`, for a tcp address behind TLS."""
    tls_verify = models.BooleanField(default=True)
    most_cores = models.FloatField(null=True, blank=True)
    """What instances may take there together; null for all that the host has."""
    most_memory_bytes = models.BigIntegerField(null=True, blank=True)
    is_schedulable = models.BooleanField(default=True)
    """Whether new instances may go there; those that are there stay either way."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(Lower("name"), "compute", name="compute_engine_name"),
        )

    def __str__(self) -> str:
        return self.name
