"""Run by the SDK's own Python: computes, batch endpoints and deployments with `azure-ai-ml`; asserts as it goes."""

# mypy: ignore-errors
import sys
from pathlib import Path

from azure.ai.ml import Input, load_compute
from azure.ai.ml._version import VERSION
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    CodeConfiguration,
    Environment,
    KubernetesCompute,
    KubernetesOnlineEndpoint,
    Model,
)
from azure.ai.ml.entities._load_functions import load_model_batch_deployment
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from driving import client_of

KEEPS_UNKNOWN = tuple(map(int, VERSION.split(".")[:2])) >= (1, 35)
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
CLUSTER = """
$schema: https://azuremlschemas.azureedge.net/latest/amlCompute.schema.json
name: sdk-yaml
type: amlcompute
size: Standard_F2s_v2
min_instances: 0
max_instances: 2
idle_time_before_scale_down: 180
tier: low_priority
"""
EDGE = """
$schema: https://azuremlschemas.azureedge.net/latest/kubernetesCompute.schema.json
name: sdk-edge
type: kubernetes
properties:
  portico:
    runtime: docker
    engines:
    - name: first
      url: unix:///nowhere/first.sock
      maxCores: 4
"""
DEPLOYMENT = """
$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
name: from-yaml
endpoint_name: sdk-batch
type: model
model: azureml:sdk-batch-model@latest
code_configuration:
  code: code
  scoring_script: batch.py
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04
  conda_file: conda.yml
compute: azureml:sdk-cpu
resources:
  instance_count: 2
settings:
  max_concurrency_per_instance: 2
  mini_batch_size: 3
  output_action: summary_only
  retry_settings:
    max_retries: 1
    timeout: 45
  error_threshold: 5
  logging_level: debug
  environment_variables:
    A: b
"""
base, folder = sys.argv[1], Path(sys.argv[2])


def write(name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


ml = client_of(base)

# Computes: made, read, changed, listed.
made = ml.compute.begin_create_or_update(
    AmlCompute(name="sdk-cpu", size="Standard_DS3_v2", min_instances=0, max_instances=2)
).result()
assert (made.provisioning_state, made.size, made.tier) == (
    "Succeeded",
    "Standard_DS3_v2",
    "dedicated",
)
assert (made.min_instances, made.max_instances, made.idle_time_before_scale_down) == (0, 2, 120)
made.max_instances = 3
assert ml.compute.begin_update(made).result().max_instances == 3
low = ml.compute.begin_create_or_update(load_compute(write("cluster.yml", CLUSTER))).result()
assert (low.tier, low.idle_time_before_scale_down) == ("low_priority", 180)
ml.compute.begin_attach(KubernetesCompute(name="sdk-k8s", namespace="scoring")).result()
attached = ml.compute.get("sdk-k8s")
assert (attached.type.lower(), attached.namespace) == ("kubernetes", "scoring")
assert ml.compute.begin_attach(attached).result().namespace == "scoring"

# Where deployments run, which Azure does not know, goes there in its own classes; back in those that keep what they
# do not know.
edge = ml.compute.begin_attach(load_compute(write("edge.yml", EDGE))).result()
place = {
    "runtime": "docker",
    "engines": [
        {
            "name": "first",
            "isSchedulable": True,
            "maxCores": 4.0,
            "url": "unix:///nowhere/first.sock",
        }
    ],
}
if KEEPS_UNKNOWN:
    assert edge.properties["portico"] == place, edge.properties
    edge.properties["portico"]["engines"][0]["isSchedulable"] = False
    edge = ml.compute.begin_update(edge).result()
    assert edge.properties["portico"]["engines"][0]["isSchedulable"] is False
wanted = KubernetesOnlineEndpoint(name="sdk-on-edge", compute="sdk-edge", auth_mode="key")
on_edge = ml.online_endpoints.begin_create_or_update(wanted).result()
assert (type(on_edge).__name__, on_edge.compute.rpartition("/")[2]) == (
    "KubernetesOnlineEndpoint",
    "sdk-edge",
)
ml.online_endpoints.begin_delete("sdk-on-edge").result()
ml.compute.begin_delete("sdk-edge", action="Detach").result()
assert {"sdk-cpu", "sdk-yaml", "sdk-k8s"} <= {row.name for row in ml.compute.list()}
clusters = {row.name for row in ml.compute.list(compute_type="amlcompute")}
assert "sdk-k8s" not in clusters
assert list(ml.compute.list_nodes("sdk-cpu")) == []
sizes = {size.name for size in ml.compute.list_sizes(compute_type="AmlCompute")}
assert "Standard_DS3_v2" in sizes
# Newer SDKs keep the number under the name that it has on the wire.
usages = {row.name["value"]: vars(row) for row in ml.compute.list_usage()}
counted = usages["computes"]
assert (counted.get("currentValue") or counted["current_value"]) >= 3
try:
    ml.compute.begin_create_or_update(AmlCompute(name="sdk-cpu", size="Standard_F2s_v2")).result()
except HttpResponseError as error:
    assert "cannot be changed" in str(error), error
else:
    raise AssertionError("the size of a cluster cannot be changed")

# An endpoint with two deployments, one of them from YAML.
endpoint = ml.batch_endpoints.begin_create_or_update(
    BatchEndpoint(name="sdk-batch", description="d", tags={"a": "b"})
).result()
assert (endpoint.provisioning_state, endpoint.auth_mode) == ("Succeeded", "aad_token")
assert endpoint.scoring_uri.endswith("/batch/sdk-batch/jobs")
write("model/weights.json", '{"w": 2}')
write("code/batch.py", "def init(): pass\ndef run(files):\n    return [str(f) for f in files]\n")
conda = write("conda.yml", "channels: [conda-forge]\ndependencies:\n- python=3.11\n")
ml.models.create_or_update(Model(name="sdk-batch-model", path=str(folder / "model")))
deployments = ml.batch_deployments
yaml = load_model_batch_deployment(write("deployment.yml", DEPLOYMENT))
from_yaml = deployments.begin_create_or_update(yaml).result()
assert from_yaml.name == "from-yaml"
read = deployments.get("from-yaml", "sdk-batch")
assert (read.mini_batch_size, read.max_concurrency_per_instance, read.error_threshold) == (3, 2, 5)
assert (read.output_action, read.output_file_name) == ("summary_only", None)
assert (read.retry_settings.max_retries, read.retry_settings.timeout) == (1, 45)
assert read.resources.instance_count == 2
assert read.environment_variables == {"A": "b"}
assert str(read.logging_level).lower().endswith("debug")
assert read.compute.endswith("/computes/sdk-cpu")
try:
    from azure.ai.ml.entities import ModelBatchDeployment, ModelBatchDeploymentSettings
except ImportError:  # the oldest SDKs have one flat class
    from azure.ai.ml.entities import BatchDeployment

    flat = {"mini_batch_size": 1, "output_file_name": "mine.csv", "instance_count": 1}
    plain = BatchDeployment
else:
    from azure.ai.ml.entities import ResourceConfiguration

    settings = ModelBatchDeploymentSettings(mini_batch_size=1, output_file_name="mine.csv")
    flat = {"settings": settings, "resources": ResourceConfiguration(instance_count=1)}
    plain = ModelBatchDeployment
wanted = plain(
    name="plain",
    endpoint_name="sdk-batch",
    model="azureml:sdk-batch-model:1",
    environment=Environment(image=IMAGE, conda_file=conda),
    code_configuration=CodeConfiguration(code=str(folder / "code"), scoring_script="batch.py"),
    compute="sdk-cpu",
    **flat,
)
deployments.begin_create_or_update(wanted).result()
assert deployments.get("plain", "sdk-batch").output_file_name == "mine.csv"
assert sorted(row.name for row in deployments.list("sdk-batch")) == ["from-yaml", "plain"]

# The default is set by read, change, write.
endpoint = ml.batch_endpoints.get("sdk-batch")
endpoint.defaults = {"deployment_name": "plain"}
ml.batch_endpoints.begin_create_or_update(endpoint).result()
again = ml.batch_endpoints.get("sdk-batch")
assert again.defaults.deployment_name == "plain"
ml.batch_endpoints.begin_create_or_update(again).result()
assert ml.batch_endpoints.get("sdk-batch").defaults.deployment_name == "plain"
assert "sdk-batch" in [row.name for row in ml.batch_endpoints.list()]

# What is wrong is told; jobs are not run yet.
wanted.compute = "sdk-nothing"
try:
    deployments.begin_create_or_update(wanted).result()
except HttpResponseError as error:
    assert "no compute 'sdk-nothing'" in str(error), error
else:
    raise AssertionError("there is no such compute")
write("in/a.csv", "1\n")
job = Input(type="uri_folder", path=str(folder / "in"))
try:
    ml.batch_endpoints.invoke("sdk-batch", input=job)
except Exception as error:
    assert "cannot run their jobs yet" in str(error), error
else:
    raise AssertionError("no job can have started")
assert list(ml.batch_endpoints.list_jobs("sdk-batch")) == []
assert list(deployments.list_jobs("sdk-batch", name="plain")) == []
assert list(ml.jobs.list()) == []
try:
    ml.jobs.get("nothing")
except ResourceNotFoundError as error:
    assert "no job 'nothing'" in str(error), error
else:
    raise AssertionError("there is no job")

deployments.begin_delete("plain", "sdk-batch").result()
assert [row.name for row in deployments.list("sdk-batch")] == ["from-yaml"]
ml.batch_endpoints.begin_delete("sdk-batch").result()
assert "sdk-batch" not in [row.name for row in ml.batch_endpoints.list()]
for name in ("sdk-cpu", "sdk-yaml"):
    ml.compute.begin_delete(name).result()
ml.compute.begin_delete("sdk-k8s", action="Detach").result()
assert not {"sdk-cpu", "sdk-yaml", "sdk-k8s"} & {row.name for row in ml.compute.list()}
print("\nall done")
