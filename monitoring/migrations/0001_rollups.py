from typing import Any

import django.contrib.postgres.fields
import django.utils.timezone
from django.db import migrations, models


class CreatePartitionedModel(migrations.CreateModel):
    """A table of parts by its column `at`; the parts are made by `monitoring.partitions` when they are needed."""

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        schema_editor.sql_create_table += ' PARTITION BY RANGE ("at")'
        try:
            super().database_forwards(app_label, schema_editor, *states)
        finally:
            del schema_editor.sql_create_table


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Follower",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=40, unique=True)),
                ("inode", models.BigIntegerField(default=0)),
                ("offset", models.BigIntegerField(default=0)),
                ("tail", models.CharField(blank=True, max_length=64)),
                ("rows", models.BigIntegerField(default=0)),
                ("unreadable_rows", models.BigIntegerField(default=0)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=40, unique=True)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("faults", models.JSONField(blank=True, default=dict)),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        CreatePartitionedModel(
            name="TrafficMinute",
            fields=[
                ("at", models.DateTimeField()),
                ("endpoint_name", models.CharField(max_length=32)),
                ("deployment_name", models.CharField(max_length=32)),
                ("code", models.SmallIntegerField()),
                ("model_code", models.SmallIntegerField()),
                ("requests", models.BigIntegerField()),
                ("request_bytes", models.BigIntegerField()),
                ("response_bytes", models.BigIntegerField()),
                ("latency_us", models.BigIntegerField()),
                ("model_us", models.BigIntegerField()),
                (
                    "buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(), size=None
                    ),
                ),
                (
                    "counts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "endpoint_name",
                        "at",
                        "deployment_name",
                        "code",
                        "model_code",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        CreatePartitionedModel(
            name="UsageMinute",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "endpoint_name",
                        "at",
                        "deployment_name",
                        "instance_name",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("at", models.DateTimeField()),
                ("endpoint_name", models.CharField(max_length=32)),
                ("deployment_name", models.CharField(max_length=32)),
                ("instance_name", models.CharField(max_length=120)),
                ("samples", models.SmallIntegerField()),
                ("cpu_sum", models.FloatField()),
                ("cpu_min", models.FloatField()),
                ("cpu_max", models.FloatField()),
                ("memory_sum", models.FloatField()),
                ("memory_min", models.FloatField()),
                ("memory_max", models.FloatField()),
            ],
        ),
        migrations.CreateModel(
            name="GatewayRejection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("endpoint_name", models.CharField(max_length=32)),
                ("kind", models.CharField(max_length=200)),
                ("resource", models.CharField(max_length=200)),
                ("message", models.TextField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ("-at",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("endpoint_name", "kind", "resource"), name="gateway_rejection_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TrafficHour",
            fields=[
                ("at", models.DateTimeField()),
                ("endpoint_name", models.CharField(max_length=32)),
                ("deployment_name", models.CharField(max_length=32)),
                ("code", models.SmallIntegerField()),
                ("model_code", models.SmallIntegerField()),
                ("requests", models.BigIntegerField()),
                ("request_bytes", models.BigIntegerField()),
                ("response_bytes", models.BigIntegerField()),
                ("latency_us", models.BigIntegerField()),
                ("model_us", models.BigIntegerField()),
                (
                    "buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(), size=None
                    ),
                ),
                (
                    "counts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "endpoint_name",
                        "at",
                        "deployment_name",
                        "code",
                        "model_code",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [models.Index(fields=["at"], name="traffic_hour_at")],
            },
        ),
    ]
