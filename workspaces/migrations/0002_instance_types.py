"""Azure's sizes (facts 3.5), so that Azure's YAML runs; operators set their own prices in the admin site.

The prices are list prices of the cloud at the time of writing, in US dollars: what the same instance would
have cost there. An installation's own price is what its operator says it is.
"""

from decimal import Decimal

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

GIB = 1024**3

# name, family, cores, memory in GiB, GPUs, GPU model, price per hour
SIZES = [
    ("Standard_DS1_v2", "DSv2", 1, 3.5, 0, "", "0.073"),
    ("Standard_DS2_v2", "DSv2", 2, 7, 0, "", "0.146"),
    ("Standard_DS3_v2", "DSv2", 4, 14, 0, "", "0.293"),
    ("Standard_DS4_v2", "DSv2", 8, 28, 0, "", "0.585"),
    ("Standard_DS5_v2", "DSv2", 16, 56, 0, "", "1.170"),
    ("Standard_F2s_v2", "FSv2", 2, 4, 0, "", "0.085"),
    ("Standard_F4s_v2", "FSv2", 4, 8, 0, "", "0.169"),
    ("Standard_F8s_v2", "FSv2", 8, 16, 0, "", "0.338"),
    ("Standard_F16s_v2", "FSv2", 16, 32, 0, "", "0.677"),
    ("Standard_F32s_v2", "FSv2", 32, 64, 0, "", "1.353"),
    ("Standard_F48s_v2", "FSv2", 48, 96, 0, "", "2.030"),
    ("Standard_F64s_v2", "FSv2", 64, 128, 0, "", "2.706"),
    ("Standard_F72s_v2", "FSv2", 72, 144, 0, "", "3.045"),
    ("Standard_E2s_v3", "ESv3", 2, 16, 0, "", "0.126"),
    ("Standard_E4s_v3", "ESv3", 4, 32, 0, "", "0.252"),
    ("Standard_E8s_v3", "ESv3", 8, 64, 0, "", "0.504"),
    ("Standard_E16s_v3", "ESv3", 16, 128, 0, "", "1.008"),
    ("Standard_D2as_v4", "DASv4", 2, 8, 0, "", "0.096"),
    ("Standard_D4as_v4", "DASv4", 4, 16, 0, "", "0.192"),
    ("Standard_D8as_v4", "DASv4", 8, 32, 0, "", "0.384"),
    ("Standard_D16as_v4", "DASv4", 16, 64, 0, "", "0.768"),
    ("Standard_D2a_v4", "DAv4", 2, 8, 0, "", "0.096"),
    ("Standard_D4a_v4", "DAv4", 4, 16, 0, "", "0.192"),
    ("Standard_L8s_v2", "LSv2", 8, 64, 0, "", "0.624"),
    ("Standard_L8s_v3", "LSv3", 8, 64, 0, "", "0.696"),
    ("Standard_L8as_v3", "LASv3", 8, 64, 0, "", "0.624"),
    ("Standard_FX4mds", "FX", 4, 84, 0, "", "0.376"),
    ("Standard_NC4as_T4_v3", "NCASv3_T4", 4, 28, 1, "T4", "0.526"),
    ("Standard_NC8as_T4_v3", "NCASv3_T4", 8, 56, 1, "T4", "0.752"),
    ("Standard_NC16as_T4_v3", "NCASv3_T4", 16, 110, 1, "T4", "1.204"),
    ("Standard_NC64as_T4_v3", "NCASv3_T4", 64, 440, 4, "T4", "4.352"),
    ("Standard_NC6s_v2", "NCSv2", 6, 112, 1, "P100", "2.070"),
    ("Standard_NC6s_v3", "NCSv3", 6, 112, 1, "V100", "3.060"),
    ("Standard_NC12s_v3", "NCSv3", 12, 224, 2, "V100", "6.120"),
    ("Standard_NC24s_v3", "NCSv3", 24, 448, 4, "V100", "12.240"),
    ("Standard_NC24ads_A100_v4", "NCADSA100v4", 24, 220, 1, "A100", "3.673"),
    ("Standard_NC48ads_A100_v4", "NCADSA100v4", 48, 440, 2, "A100", "7.346"),
    ("Standard_NC96ads_A100_v4", "NCADSA100v4", 96, 880, 4, "A100", "14.692"),
    ("Standard_NC40ads_H100_v5", "NCADSH100v5", 40, 320, 1, "H100", "6.980"),
    ("Standard_NC80adis_H100_v5", "NCADSH100v5", 80, 640, 2, "H100", "13.960"),
    ("Standard_ND40rs_v2", "NDRSv2", 40, 672, 8, "V100", "22.032"),
    ("Standard_ND96asr_v4", "NDASv4_A100", 96, 900, 8, "A100", "27.197"),
    ("Standard_ND96isr_H100_v5", "NDISRH100v5", 96, 1900, 8, "H100", "98.320"),
    ("Standard_NV6ads_A10_v5", "NVADSA10v5", 6, 55, 0, "A10 (1/6)", "0.454"),
    ("Standard_NV36ads_A10_v5", "NVADSA10v5", 36, 440, 1, "A10", "3.200"),
    ("Standard_NV72ads_A10_v5", "NVADSA10v5", 72, 880, 2, "A10", "6.520"),
]


def add(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    InstanceType = apps.get_model("workspaces", "InstanceType")
    InstanceType.objects.bulk_create(
        InstanceType(
            name=name,
            family=family,
            cores=Decimal(cores),
            memory_bytes=int(memory * GIB),
            gpu_count=gpu_count,
            gpu_model=gpu_model,
            price_per_hour=Decimal(price),
        )
        for name, family, cores, memory, gpu_count, gpu_model, price in SIZES
    )


def remove(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    names = [size[0] for size in SIZES]
    apps.get_model("workspaces", "InstanceType").objects.filter(name__in=names).delete()


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0001_tenancy_and_assets")]
    operations = [migrations.RunPython(add, remove)]
