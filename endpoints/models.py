"""Endpoints: stable names that answer requests (online) or take jobs (batch), and where deployments answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import User, Workspace

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


class EndpointState(models.TextChoices):
    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class OnlineEndpointQuerySet(LifecycleQuerySet["OnlineEndpoint"]):
    def visible_to(self, user: User | AnonymousUser) -> OnlineEndpointQuerySet:
        return self.filter(workspace__in=Workspace.objects.visible_to(user))


class OnlineEndpoint(Lifecycle):
    """A name that answers: authentication and traffic, no compute of its own (facts 2.1)."""

    class AuthMode(models.TextChoices):
        KEY = "key"
        AML_TOKEN = "aml_token"
        AAD_TOKEN = "aad_token"

    class PublicNetworkAccess(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    MOVES: ClassVar[Mapping[str, set[str]]] = {
        EndpointState.CREATING: {
            EndpointState.SUCCEEDED,
            EndpointState.FAILED,
            EndpointState.DELETING,
        },
        EndpointState.SUCCEEDED: {EndpointState.UPDATING, EndpointState.DELETING},
        EndpointState.UPDATING: {
            EndpointState.SUCCEEDED,
            EndpointState.FAILED,
            EndpointState.DELETING,
        },
        EndpointState.FAILED: {EndpointState.UPDATING, EndpointState.DELETING},
        EndpointState.DELETING: set(),
    }

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, related_name="online_endpoints"
    )
    name = models.CharField(max_length=32)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    auth_mode = models.CharField(max_length=10, choices=AuthMode.choices, default=AuthMode.KEY)
    compute = models.CharField(max_length=200, blank=True)
    """Name of the attached compute on which its deployments run; empty for the installation. See `compute_name`."""
    identity = models.JSONField(default=dict, blank=True)
    public_network_access = models.CharField(
        max_length=8, choices=PublicNetworkAccess.choices, default=PublicNetworkAccess.ENABLED
    )
    location = models.CharField(max_length=40, default="local")
    traffic = models.JSONField(default=dict, blank=True)
    """Deployment name → live percent, without zeros."""
    mirror_traffic = models.JSONField(default=dict, blank=True)
    """Deployment name → mirrored percent; at most one."""
    primary_key_sealed = models.TextField(blank=True)
    secondary_key_sealed = models.TextField(blank=True)
    revision = models.PositiveIntegerField(default=1)
    """Counts the changes people make; a form carries the one it was based on."""
    published_version = models.PositiveIntegerField(default=1)
    """Counts what the gateway must know; `endpoints.gateway.publish` compares it."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = OnlineEndpointQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        verbose_name = "online endpoint"
        constraints = (
            # Host names are compared without case, and an installation is one region (facts 3.1).
            models.UniqueConstraint(Lower("name"), name="endpoint_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_busy(self) -> bool:
        return self.state in {
            EndpointState.CREATING,
            EndpointState.UPDATING,
            EndpointState.DELETING,
        }

    @property
    def scoring_uri(self) -> str:
        """Where clients send requests, over TLS."""
        return f"https://{settings.PORTICO_HOST}:{settings.PORTICO_GATEWAY_PORT}/{self.name}/score"

    @property
    def local_scoring_uri(self) -> str:
        """The same without TLS, for clients on this machine."""
        return f"http://localhost:{settings.PORTICO_GATEWAY_HTTP_PORT}/{self.name}/score"

    @property
    def openapi_uri(self) -> str:
        return self.scoring_uri.removesuffix("/score") + "/swagger.json"

    @property
    def compute_name(self) -> str:
        """Without the rest of the id, which earlier versions kept."""
        return self.compute.rpartition("/")[2].removeprefix("azureml:")

    @property
    def arm_id(self) -> str:
        return f"{self.workspace.arm_id}/onlineEndpoints/{self.name}"


class BatchEndpointQuerySet(models.QuerySet["BatchEndpoint"]):
    def visible_to(self, user: User | AnonymousUser) -> BatchEndpointQuerySet:
        return self.filter(workspace__in=Workspace.objects.visible_to(user))


class BatchEndpoint(models.Model):
    """A name that takes jobs and hands them to a deployment (facts 2.4); there is nothing to provision.

    Callers get in with a token of their own (`aad_token`); it has no keys.
    """

    AUTH_MODE = "aad_token"

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, related_name="batch_endpoints"
    )
    name = models.CharField(max_length=32)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    identity = models.JSONField(default=dict, blank=True)
    location = models.CharField(max_length=40, default="local")
    default_deployment = models.CharField(max_length=32, blank=True)
    """Name of the deployment that takes jobs which name none; empty while there is none."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = BatchEndpointQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        verbose_name = "batch endpoint"
        constraints = (
            # That no online endpoint has the name either is seen to by `endpoints.names.claim_name`.
            models.UniqueConstraint(Lower("name"), name="batch_endpoint_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def scoring_uri(self) -> str:
        """Where clients send jobs, over TLS."""
        return (
            f"https://{settings.PORTICO_HOST}:{settings.PORTICO_TLS_PORT}/batch/{self.name}/jobs"
        )

    @property
    def arm_id(self) -> str:
        return f"{self.workspace.arm_id}/batchEndpoints/{self.name}"


class Upstream(models.Model):
    """Where one deployment answers, told downwards by whoever runs it."""

    endpoint = models.ForeignKey(
        OnlineEndpoint, on_delete=models.CASCADE, related_name="upstreams"
    )
    deployment_name = models.CharField(max_length=40)
    """With a dot in it, it is reached by its name alone and can have no traffic."""
    addresses = models.JSONField(default=list, blank=True)
    """`unix:/path` or `host:port` of each instance that is ready."""
    instance_count = models.PositiveIntegerField(default=1)
    max_concurrent_requests_per_instance = models.PositiveIntegerField(default=1)
    request_timeout_ms = models.PositiveIntegerField(default=5000)
    scoring_path = models.CharField(max_length=500, default="/score")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                Lower("deployment_name"), "endpoint", name="upstream_deployment_name"
            ),
        )

    def __str__(self) -> str:
        return f"{self.endpoint.name}/{self.deployment_name}"
