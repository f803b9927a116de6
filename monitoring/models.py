"""What was measured, where the followers stand, and who is alive.

Names, not foreign keys: figures outlive what they tell of. A name may be given again, so whoever reads figures
of an endpoint starts at its creation.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone


class Traffic(models.Model):
    """Requests of one endpoint, deployment and outcome that began in one stretch of time."""

    at = models.DateTimeField()
    """The first moment of the stretch."""
    endpoint_name = models.CharField(max_length=32)
    """Empty for requests that name no endpoint."""
    deployment_name = models.CharField(max_length=32)
    """Empty when the gateway answered before it had chosen one."""
    code = models.SmallIntegerField()
    """What the client got; 0 when it went away first."""
    model_code = models.SmallIntegerField()
    """What the model said when the client got 424; 0 otherwise."""
    requests = models.BigIntegerField()
    request_bytes = models.BigIntegerField()
    response_bytes = models.BigIntegerField()
    latency_us = models.BigIntegerField()
    model_us = models.BigIntegerField()
    """From the first byte sent to the instance until the first of its answer."""
    buckets = ArrayField(models.SmallIntegerField())
    """Which latencies there were, as numbers of `monitoring.sketch`, ascending."""
    counts = ArrayField(models.BigIntegerField())
    """How many requests each bucket holds."""

    class Meta:
        abstract = True


class TrafficMinute(Traffic):
    """Partitioned by month (`monitoring.partitions`); written by `monitoring.rollups` alone."""

    pk = models.CompositePrimaryKey("endpoint_name", "at", "deployment_name", "code", "model_code")

    class Meta(Traffic.Meta):
        abstract = False

    def __str__(self) -> str:
        return f"{self.endpoint_name} at {self.at:%Y-%m-%d %H:%M}"


class TrafficHour(Traffic):
    """The same by hours, kept longer."""

    pk = models.CompositePrimaryKey("endpoint_name", "at", "deployment_name", "code", "model_code")

    class Meta(Traffic.Meta):
        abstract = False
        indexes = (models.Index(fields=("at",), name="traffic_hour_at"),)

    def __str__(self) -> str:
        return f"{self.endpoint_name} at {self.at:%Y-%m-%d %H:00}"


class UsageMinute(models.Model):
    """Processor and memory of one instance in one minute, from several samples; partitioned by month."""

    pk = models.CompositePrimaryKey("endpoint_name", "at", "deployment_name", "instance_name")
    at = models.DateTimeField()
    endpoint_name = models.CharField(max_length=32)
    deployment_name = models.CharField(max_length=32)
    instance_name = models.CharField(max_length=120)
    samples = models.SmallIntegerField()
    cpu_sum = models.FloatField()
    cpu_min = models.FloatField()
    cpu_max = models.FloatField()
    memory_sum = models.FloatField()
    memory_min = models.FloatField()
    memory_max = models.FloatField()
    """Percent of the instance's own limits, as sums over the samples."""

    def __str__(self) -> str:
        return f"{self.instance_name} at {self.at:%Y-%m-%d %H:%M}"


class Follower(models.Model):
    """How far a file has been counted: moves in the same transaction as the counts."""

    name = models.CharField(max_length=40, unique=True)
    inode = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    tail = models.CharField(max_length=64, blank=True)
    """Digest of the bytes before `offset`: tells this file from a later one with the same inode."""
    rows = models.BigIntegerField(default=0)
    unreadable_rows = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class GatewayRejection(models.Model):
    """A resource that Envoy refused; the one before stays in force. Gone once a new one is on its way."""

    endpoint_name = models.CharField(max_length=32)
    kind = models.CharField(max_length=200)
    resource = models.CharField(max_length=200)
    message = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-at",)
        constraints = (
            models.UniqueConstraint(
                fields=("endpoint_name", "kind", "resource"), name="gateway_rejection_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.resource} of {self.endpoint_name}"


class Heartbeat(models.Model):
    """The last sign of life of a background process."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField(default=timezone.now)
    faults = models.JSONField(default=dict, blank=True)
    """Name of a task that fails at the moment → why."""

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
