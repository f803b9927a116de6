"""Batch deployments."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from endpoints.models import BatchEndpoint
from workspaces import vault
from workspaces.models import (
    CodeVersion,
    ComponentVersion,
    EnvironmentVersion,
    ModelVersion,
    User,
)


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
