"""Models, environments, code, data and components: named things with immutable versions.

Content lives in `workspaces.storage` under the hash of its manifest; rows point to it.
"""

from __future__ import annotations

from typing import Self, TypeVar

from django.db import models
from django.utils import timezone

from workspaces.models.people import User
from workspaces.models.tenancy import Workspace

Row = TypeVar("Row", bound=models.Model, covariant=True)


class AssetQuerySet(models.QuerySet[Row]):
    def listed(self) -> Self:
        """Not anonymous and not archived: what normal lists show."""
        return self.filter(is_anonymous=False, archived_at__isnull=True)


class Asset(models.Model):
    """The name that versions share."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="%(class)ss")
    name = models.CharField(max_length=255)
    is_anonymous = models.BooleanField(default=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = AssetQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("workspace", "name"), name="%(class)s_name"),
        )

    def __str__(self) -> str:
        return self.name


class AssetVersion(models.Model):
    """One immutable version; only description, tags and the archive mark may change."""

    version = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        abstract = True
        ordering = ("-created_at", "-pk")


class StoredContent(models.Model):
    """Files or a folder in the store (facts 4.3: the leaf folder is kept for folders)."""

    content_hash = models.CharField(max_length=64, db_index=True)
    leaf = models.CharField(max_length=255)
    """Name of the folder, or of the single file, as it was registered."""
    is_folder = models.BooleanField(default=True)
    size_bytes = models.BigIntegerField(default=0)
    file_count = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class Model(Asset):
    class Meta(Asset.Meta):
        abstract = False


class ModelVersion(AssetVersion, StoredContent):
    class Type(models.TextChoices):
        CUSTOM = "custom_model"
        MLFLOW = "mlflow_model"
        TRITON = "triton_model"

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="versions")
    type = models.CharField(max_length=20, choices=Type.choices, default=Type.CUSTOM)
    flavors = models.JSONField(default=dict, blank=True)

    class Meta(AssetVersion.Meta):
        abstract = False
        constraints = (models.UniqueConstraint(fields=("model", "version"), name="model_version"),)

    def __str__(self) -> str:
        return f"{self.model.name}:{self.version}"


class Environment(Asset):
    class Meta(Asset.Meta):
        abstract = False


class EnvironmentVersion(AssetVersion):
    """An image, an image with a conda file, or a build context; plus pip requirements, our own addition."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="versions")
    image = models.CharField(max_length=500, blank=True)
    conda_file = models.TextField(blank=True)
    requirements = models.TextField(blank=True)
    build_context_hash = models.CharField(max_length=64, blank=True)
    dockerfile_path = models.CharField(max_length=255, blank=True)
    os_type = models.CharField(max_length=10, default="linux")
    inference_config = models.JSONField(default=dict, blank=True)
    curated = models.CharField(max_length=200, blank=True)
    """Azure's name of a curated environment that this one stands for."""

    class Meta(AssetVersion.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(fields=("environment", "version"), name="environment_version"),
        )

    def __str__(self) -> str:
        return f"{self.environment.name}:{self.version}"


class Code(Asset):
    class Meta(Asset.Meta):
        abstract = False


class CodeVersion(AssetVersion, StoredContent):
    code = models.ForeignKey(Code, on_delete=models.CASCADE, related_name="versions")

    class Meta(AssetVersion.Meta):
        abstract = False
        constraints = (models.UniqueConstraint(fields=("code", "version"), name="code_version"),)

    def __str__(self) -> str:
        return f"{self.code.name}:{self.version}"


class Data(Asset):
    class Meta(Asset.Meta):
        abstract = False
        verbose_name_plural = "data"


class DataVersion(AssetVersion, StoredContent):
    """Files in the store, or an address that is read when the data is used: then there is no content hash."""

    class Type(models.TextChoices):
        FILE = "uri_file"
        FOLDER = "uri_folder"
        TABLE = "mltable"

    data = models.ForeignKey(Data, on_delete=models.CASCADE, related_name="versions")
    type = models.CharField(max_length=20, choices=Type.choices, default=Type.FOLDER)
    uri = models.CharField(max_length=4000, blank=True)
    referenced_uris = models.JSONField(default=list, blank=True)
    """What the file MLTable names, as the client read it."""

    class Meta(AssetVersion.Meta):
        abstract = False
        constraints = (models.UniqueConstraint(fields=("data", "version"), name="data_version"),)

    def __str__(self) -> str:
        return f"{self.data.name}:{self.version}"


class Component(Asset):
    class Meta(Asset.Meta):
        abstract = False


class ComponentVersion(AssetVersion):
    """A step that can be used again, as its YAML says it; name and version stand beside it, not in it."""

    component = models.ForeignKey(Component, on_delete=models.CASCADE, related_name="versions")
    type = models.CharField(max_length=20)
    display_name = models.CharField(max_length=255, blank=True)
    specification = models.JSONField(default=dict)

    class Meta(AssetVersion.Meta):
        abstract = False
        constraints = (
            models.UniqueConstraint(fields=("component", "version"), name="component_version"),
        )

    def __str__(self) -> str:
        return f"{self.component.name}:{self.version}"
