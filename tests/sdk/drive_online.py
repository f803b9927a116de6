"""Run by the SDK's own Python: registers, deploys, scores and deletes with `azure-ai-ml`; asserts as it goes."""

# mypy: ignore-errors
import json
import os
import sys
from pathlib import Path

from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from driving import client_of

SCRIPT = """
import json, os, pathlib

def init():
    global weight
    found = next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("*.json"))
    weight = json.loads(found.read_text())["w"]
    print("the weight is", weight)

def run(data):
    return [weight * number for number in json.loads(data)["data"]]
"""
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
base, folder = sys.argv[1], Path(sys.argv[2])


def write(name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


ml = client_of(base)
assert [workspace.name for workspace in ml.workspaces.list()] == ["main"]
assert ml.datastores.get_default().name == "workspaceblobstore"

# Models: folders, files, content that is there already, large ones in blocks, downloads.
write("model/weights.json", '{"w": 2}')
write("model/notes.txt", "notes")
first = int(ml.models.create_or_update(Model(name="sdk-demo", path=str(folder / "model"))).version)
again = ml.models.create_or_update(Model(name="sdk-demo", path=str(folder / "model")))
assert int(again.version) == first + 1
large = folder / "large.bin"
large.write_bytes(os.urandom(70 * 1024 * 1024))
stored = ml.models.create_or_update(Model(name="sdk-large", path=str(large)))
ml.models.download("sdk-large", stored.version, download_path=str(folder / "down"))
assert (folder / "down/sdk-large/large.bin").read_bytes() == large.read_bytes()
ml.models.download("sdk-demo", str(first), download_path=str(folder / "down"))
names = sorted(path.name for path in (folder / "down/sdk-demo").rglob("*.*"))
assert names == ["notes.txt", "weights.json"], names

# Environments: the same again is the same version, other content the next one.
conda = write("conda.yml", "channels: [conda-forge]\ndependencies:\n- python=3.11\n")
environment = Environment(name="sdk-env", image=IMAGE, conda_file=conda)
version = ml.environments.create_or_update(environment).version
assert ml.environments.create_or_update(environment).version == version
changed = write("other.yml", f"dependencies:\n- python=3.11\n- pip:\n  - six  # {os.getpid()}\n")
other = Environment(name="sdk-env", image=IMAGE, conda_file=changed)
assert int(ml.environments.create_or_update(other).version) == int(version) + 1

# An endpoint with two deployments, one of them with everything inline.
made = ml.online_endpoints.begin_create_or_update(
    ManagedOnlineEndpoint(name="sdk-test", auth_mode="key", tags={"a": "b"})
).result()
assert made.provisioning_state == "Succeeded"
write("code/score.py", SCRIPT)
write("code/package/module.py", "X = 1\n")
request = write("request.json", json.dumps({"data": [1, 2]}))


def deployment(name, model, environment, code="code"):
    return ManagedOnlineDeployment(
        name=name,
        endpoint_name="sdk-test",
        model=model,
        environment=environment,
        code_configuration=CodeConfiguration(code=str(folder / code), scoring_script="score.py"),
        instance_type="Standard_F2s_v2",
        instance_count=1,
        request_settings=OnlineRequestSettings(
            request_timeout_ms=3000, max_concurrent_requests_per_instance=2
        ),
        liveness_probe=ProbeSettings(initial_delay=10),
    )


inline = Environment(image=IMAGE, conda_file=conda)
create = ml.online_deployments.begin_create_or_update
assert (
    create(deployment("blue", f"azureml:sdk-demo:{first}", inline)).result().provisioning_state
    == "Succeeded"
)
own = Model(path=write("one.json", '{"w": 3}'))
assert (
    create(deployment("green", own, f"sdk-env:{version}")).result().provisioning_state
    == "Succeeded"
)

endpoint = ml.online_endpoints.get("sdk-test")
endpoint.traffic, endpoint.mirror_traffic = {"blue": 100}, {"green": 10}
told = ml.online_endpoints.begin_create_or_update(endpoint).result()
assert (told.traffic["blue"], told.mirror_traffic) == (100, {"green": 10})
assert json.loads(ml.online_endpoints.invoke("sdk-test", request_file=request)) == [2, 4]
named = ml.online_endpoints.invoke("sdk-test", request_file=request, deployment_name="green")
assert json.loads(named) == [3, 6]
before = ml.online_endpoints.get_keys("sdk-test")
ml.online_endpoints.begin_regenerate_keys("sdk-test", key_type="secondary").result()
after = ml.online_endpoints.get_keys("sdk-test")
assert after.primary_key == before.primary_key
assert after.secondary_key != before.secondary_key
assert "the weight is 2" in ml.online_deployments.get_logs("blue", "sdk-test", lines=50)
fetched = ml.online_deployments.get_logs(
    "blue", "sdk-test", lines=50, container_type="storage-initializer"
)
assert "Model sdk-demo:" in fetched and "Storage initialized in" in fetched
assert "the weight is 2" not in fetched
try:
    ml.online_deployments.get_logs("blue", "sdk-test", lines=5, container_type="sidecar")
except ValidationException as error:
    assert "inference-server" in str(error) and "storage-initializer" in str(error)
else:
    raise AssertionError("a container that does not exist has no log")

# Scaling sends back what was read.
blue = ml.online_deployments.get("blue", "sdk-test")
blue.instance_count = 2
scaled = create(blue).result()
assert (scaled.instance_count, scaled.provisioning_state) == (2, "Succeeded")

# A failure tells its cause; the deployment stays to be looked at.
write("bad/score.py", "def init():\n    raise RuntimeError('no weights')\n\ndef run(data): ...\n")
try:
    create(deployment("bad", f"azureml:sdk-demo:{first}", inline, code="bad")).result()
except HttpResponseError as error:
    assert "(UserScriptInitFailed) init() raised RuntimeError: no weights" in str(error), error
else:
    raise AssertionError("the script cannot have worked")
assert ml.online_deployments.get("bad", "sdk-test").provisioning_state == "Failed"
try:
    ml.online_deployments.begin_delete("blue", "sdk-test").result()
except ResourceExistsError as error:
    assert "100 % of the live traffic" in str(error)
else:
    raise AssertionError("blue has traffic")
ml.online_deployments.begin_delete("bad", "sdk-test").result()
assert sorted(row.name for row in ml.online_deployments.list("sdk-test")) == ["blue", "green"]

# Archiving hides, restoring shows.
ml.models.archive("sdk-demo", str(first))
assert str(first) not in [row.version for row in ml.models.list("sdk-demo")]
ml.models.restore("sdk-demo", str(first))
assert str(first) in [row.version for row in ml.models.list("sdk-demo")]
ml.environments.archive("sdk-env")
assert "sdk-env" not in [row.name for row in ml.environments.list()]
ml.environments.restore("sdk-env")
assert "sdk-env" in [row.name for row in ml.environments.list()]

ml.online_endpoints.begin_create_or_update(
    ManagedOnlineEndpoint(name="sdk-token", auth_mode="aml_token")
).result()
assert ml.online_endpoints.get_keys("sdk-token").access_token
for name in ("sdk-test", "sdk-token"):
    ml.online_endpoints.begin_delete(name).result()
assert not {"sdk-test", "sdk-token"} & {row.name for row in ml.online_endpoints.list()}
print("\nall done")
