"""Files that clients upload before they register them: names for blobs of the store, as a blob service has them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from workspaces.models.tenancy import Workspace


class UploadedFile(models.Model):
    """A path in a container of the workspace; the content is a blob of `workspaces.storage`."""

    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="uploaded_files"
    )
    container = models.CharField(max_length=63)
    # Ordered by bytes, so that what begins alike stands together.
    path = models.CharField(max_length=1024, db_collation="C")
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    content_type = models.CharField(max_length=255, blank=True)
    joined_of = models.CharField(max_length=64, blank=True)
    """Digest of the list of parts that it was made of."""
    metadata = models.JSONField(default=dict, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("container", "path")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "container", "path"), name="uploaded_file_path"
            ),
        )

    def __str__(self) -> str:
        return f"{self.container}/{self.path}"


class UploadedPiece(models.Model):
    """A part of a file that is not whole yet."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    container = models.CharField(max_length=63)
    path = models.CharField(max_length=1024)
    piece_id = models.CharField(max_length=128)
    stored_as = models.CharField(max_length=32)
    size_bytes = models.BigIntegerField()
    uploaded_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "container", "path", "piece_id"), name="uploaded_piece_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.container}/{self.path} {self.piece_id}"
