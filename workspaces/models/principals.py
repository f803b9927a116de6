"""Programs that sign in by themselves, and what they sign in with."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from workspaces.models.people import User
from workspaces.models.tenancy import Workspace


class ServicePrincipal(models.Model):
    """A user without a password, for a program such as a CI job; the owners of its workspace look after it."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="service_principal")
    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="service_principals"
    )
    client_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=60)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint("workspace", Lower("name"), name="service_principal_name"),
        )

    def __str__(self) -> str:
        return self.name


class PrincipalSecretQuerySet(models.QuerySet["PrincipalSecret"]):
    def usable(self) -> PrincipalSecretQuerySet:
        return self.filter(
            models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=timezone.now()),
            principal__user__is_active=True,
        )


class PrincipalSecret(models.Model):
    """One of several secrets, so that they can be exchanged without a gap; only its SHA-256 is kept."""

    principal = models.ForeignKey(
        ServicePrincipal, on_delete=models.CASCADE, related_name="secrets"
    )
    name = models.CharField(max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = PrincipalSecretQuerySet.as_manager()

    class Meta:
        ordering = ("created_at", "pk")

    def __str__(self) -> str:
        return f"secret {self.pk} of {self.principal}"


class FederatedCredential(models.Model):
    """A foreign issuer's word for a program, in place of a secret: tokens that these public keys have signed."""

    principal = models.ForeignKey(
        ServicePrincipal, on_delete=models.CASCADE, related_name="federated_credentials"
    )
    name = models.CharField(max_length=100)
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=500)
    audience = models.CharField(max_length=200)
    keys = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.UniqueConstraint("principal", Lower("name"), name="federated_credential_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def expires_at(self) -> None:
        """Never: it is removed when it is not wanted any more."""
        return
