"""Versions of 64 characters: the hashes that the SDK names anonymous environments by."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0002_instance_types")]

    operations = [
        migrations.AlterField(
            model_name=name, name="version", field=models.CharField(max_length=64)
        )
        for name in ("codeversion", "environmentversion", "modelversion")
    ]
