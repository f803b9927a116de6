"""Instance types: what one instance may use, and what that costs."""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Lower


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
