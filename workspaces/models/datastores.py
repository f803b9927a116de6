"""Datastores: named places of data outside Portico, with what opens them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from workspaces.models.people import User
from workspaces.models.tenancy import Workspace


class Datastore(models.Model):
    """A record only: those that Portico itself serves have no row."""

    class Type(models.TextChoices):
        BLOB = "azure_blob", "Azure Blob Storage"
        FILE = "azure_file", "Azure Files"
        LAKE1 = "azure_data_lake_gen1", "Azure Data Lake Storage Gen1"
        LAKE2 = "azure_data_lake_gen2", "Azure Data Lake Storage Gen2"

    class Credentials(models.TextChoices):
        NONE = "none", "None: the identity of who reads"
        ACCOUNT_KEY = "account_key", "Account key"
        SAS = "sas_token", "SAS token"
        SERVICE_PRINCIPAL = "service_principal", "Service principal"
        CERTIFICATE = "certificate", "Certificate"

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="datastores")
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=20, choices=Type.choices)
    account_name = models.CharField(max_length=255, blank=True)
    container = models.CharField(max_length=255)
    """Of Azure Files the share, of lakes the file system or the store."""
    endpoint = models.CharField(max_length=255, blank=True)
    protocol = models.CharField(max_length=20, blank=True)
    credentials = models.CharField(
        max_length=20, choices=Credentials.choices, default=Credentials.NONE
    )
    identity = models.JSONField(default=dict, blank=True)
    """What is not secret of the credentials: tenant, client, addresses, thumbprint."""
    secret_sealed = models.TextField(blank=True)
    is_default = models.BooleanField(default=False)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint("workspace", Lower("name"), name="datastore_name"),
            models.UniqueConstraint(
                fields=("workspace",), condition=Q(is_default=True), name="datastore_default_once"
            ),
        )

    def __str__(self) -> str:
        return self.name
