"""Run by the SDK's own Python: data, components and datastores with `azure-ai-ml`; asserts as it goes."""

# mypy: ignore-errors
import json
import os
import sys
from pathlib import Path

from azure.ai.ml import load_component
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    AccountKeyConfiguration,
    AzureBlobDatastore,
    AzureDataLakeGen2Datastore,
    AzureFileDatastore,
    BuildContext,
    Data,
    Environment,
    Model,
    SasTokenConfiguration,
    ServicePrincipalConfiguration,
)
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from driving import client_of

base, folder = sys.argv[1], Path(sys.argv[2])
mark = str(os.getpid())


def write(name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


ml = client_of(base)

# Data: a file, a folder, an address; versions count up, content is uploaded once.
file = write("rows/a.csv", f"1,{mark}\n")
write("rows/deep/b.csv", "2\n")
name = f"sdk-data-{mark}"
first = ml.data.create_or_update(Data(name=name, path=file, type=AssetTypes.URI_FILE))
assert (first.version, first.type) == ("1", "uri_file"), first
again = ml.data.create_or_update(Data(name=name, path=file, type=AssetTypes.URI_FILE))
assert again.version == "2", again.version
assert again.path == first.path, "equal content, equal place"
rows = ml.data.create_or_update(
    Data(
        name=f"{name}-rows",
        path=str(folder / "rows"),
        type=AssetTypes.URI_FOLDER,
        description="rows",
        tags={"a": "b"},
    )
)
told = ml.data.get(f"{name}-rows", version="1")
assert (told.type, told.description, told.tags) == ("uri_folder", "rows", {"a": "b"})
assert told.path == rows.path
assert "/datastores/workspaceblobstore/paths/" in told.path, told.path
elsewhere = Data(
    name=f"{name}-web", version="7", path="https://example.org/a.csv", type=AssetTypes.URI_FILE
)
assert ml.data.create_or_update(elsewhere).path == "https://example.org/a.csv"
assert ml.data.create_or_update(elsewhere).version == "7", "the same again is success"
assert ml.data.get(name, label="latest").version == "2"
listed = {row.name: row for row in ml.data.list()}
assert listed[name].latest_version == "2"
assert [row.version for row in ml.data.list(name)] == ["2", "1"]
moved = Data(name=f"{name}-web", version="7", path="https://example.org/b.csv", type="uri_file")
try:
    ml.data.create_or_update(moved)
except ResourceExistsError as error:
    assert str(error).startswith("(UserError) Asset paths cannot be updated."), error
    assert "register a new version" in str(error), error
else:
    raise AssertionError("a version does not change")
weights = write("weights.txt", f"1 {mark}")
model = ml.models.create_or_update(Model(name=f"sdk-model-{mark}", version="1", path=weights))
assert model.version == "1"
write("weights.txt", f"2 {mark}")
try:
    ml.models.create_or_update(Model(name=f"sdk-model-{mark}", version="1", path=weights))
except ResourceExistsError as error:
    assert str(error).startswith("(UserError) Asset paths cannot be updated."), error
    assert f"sdk-model-{mark}:1 exists with other content" in str(error), error
else:
    raise AssertionError("a version of a model does not change")
ml.data.archive(name, "1")
assert [row.version for row in ml.data.list(name)] == ["2"]
ml.data.restore(name, "1")
assert [row.version for row in ml.data.list(name)] == ["2", "1"]
ml.data.archive(name)
assert name not in {row.name for row in ml.data.list()}
ml.data.restore(name)
assert name in {row.name for row in ml.data.list()}

# An environment from a build context: the folder is uploaded, kept, and told by where it is.
write("context/Dockerfile", "FROM python:3.11\n")
write("context/requirements.txt", f"# {mark}\n")


def image_of_context(**more):
    # A new object each time: the SDK writes into it where it has put the folder.
    build = BuildContext(path=str(folder / "context"), dockerfile_path="Dockerfile")
    made = Environment(name=f"sdk-context-{mark}", build=build, **more)
    return ml.environments.create_or_update(made)


image = image_of_context()
found = ml.environments.get(image.name, image.version)
assert found.build.dockerfile_path == "Dockerfile", found
assert found.build.path.startswith(base), found.build.path
assert image_of_context(version=image.version).build.path == found.build.path
write("context/requirements.txt", f"# {mark} changed\n")
other = image_of_context()
assert (other.version, other.build.path == found.build.path) == ("2", False), other

# Components: a command with code of its own, what a pipeline is made of, one that reads many files.
write("step/src/score.py", "print('scored')\n")
command = write(
    "step/component.yml",
    f"""
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: sdk_score_{mark}
display_name: Score
description: scores rows
tags: {{team: a}}
inputs:
  data: {{type: uri_folder}}
  mode: {{type: string, default: append, optional: true}}
outputs:
  scores: {{type: uri_folder}}
code: ./src
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04
command: >-
  python score.py --data ${{{{inputs.data}}}} $[[--mode ${{{{inputs.mode}}}}]] --scores ${{{{outputs.scores}}}}
""",
)
made = ml.components.create_or_update(load_component(command))
assert (made.name, made.version, made.display_name) == (f"sdk_score_{mark}", "1", "Score"), made
assert "/codes/" in str(made.code), made.code
assert "/environments/" in str(made.environment), made.environment
assert ml.components.create_or_update(load_component(command)).version == "2"
newest = ml.components.get(made.name)
assert (newest.version, sorted(newest.inputs)) == ("2", ["data", "mode"]), newest
assert ml.components.get(made.name, version="1").command.startswith("python score.py")
assert ml.components.get(made.name, label="latest").version == "2"
pipeline = write(
    "pipeline.yml",
    f"""
type: pipeline
name: sdk_pipeline_{mark}
version: "3"
inputs:
  data: {{type: uri_folder}}
outputs:
  scores: {{type: uri_folder}}
jobs:
  first:
    type: command
    component: azureml:sdk_score_{mark}:1
    inputs: {{data: "${{{{parent.inputs.data}}}}"}}
    outputs: {{scores: "${{{{parent.outputs.scores}}}}"}}
""",
)
whole = ml.components.create_or_update(load_component(pipeline))
assert (whole.version, list(whole.jobs)) == ("3", ["first"]), whole
assert f"sdk_score_{mark}" in str(
    ml.components.get(whole.name, version="3").jobs["first"].component
)
assert {made.name, whole.name} <= {row.name for row in ml.components.list()}
assert [row.version for row in ml.components.list(made.name)] == ["2", "1"]
ml.components.archive(made.name, version="2")
assert ml.components.get(made.name).version == "1", "the newest that is not archived"
ml.components.restore(made.name, version="2")

# Datastores: ours, and records of others with secrets that are only told when they are asked for.
names = [row.name for row in ml.datastores.list()]
assert names[:2] == ["workspaceblobstore", "workspaceartifactstore"], names
assert ml.datastores.get_default().name == "workspaceblobstore"
assert ml.datastores.get_default(include_secrets=True).credentials.sas_token
box = AzureBlobDatastore(
    name=f"box_{mark}",
    account_name="account",
    container_name="container",
    description="a box",
    credentials=AccountKeyConfiguration(account_key="a2V5"),
)
ml.datastores.create_or_update(box)
told = ml.datastores.get(box.name)
assert (told.account_name, told.container_name, told.description) == (
    "account",
    "container",
    "a box",
)
assert not told.credentials.account_key
assert ml.datastores.get(box.name, include_secrets=True).credentials.account_key == "a2V5"
share = AzureFileDatastore(
    name=f"share_{mark}",
    account_name="account",
    file_share_name="share",
    credentials=SasTokenConfiguration(sas_token="sv=1&sig=2"),
)
ml.datastores.create_or_update(share)
secret = ml.datastores.get(share.name, include_secrets=True).credentials.sas_token
assert secret == "sv=1&sig=2", secret
lake = AzureDataLakeGen2Datastore(
    name=f"lake_{mark}",
    account_name="account",
    filesystem="files",
    credentials=ServicePrincipalConfiguration(
        tenant_id="t", client_id="c", client_secret="s", authority_url="https://example.org"
    ),
)
ml.datastores.create_or_update(lake)
told = ml.datastores.get(lake.name, include_secrets=True)
assert (told.filesystem, told.credentials.client_secret) == ("files", "s")
bare = AzureBlobDatastore(name=f"bare_{mark}", account_name="a", container_name="c")
ml.datastores.create_or_update(bare)
secrets = {row.name: row for row in ml.datastores.list(include_secrets=True)}
assert secrets[box.name].credentials.account_key == "a2V5"
for row in (box, share, lake, bare):
    ml.datastores.delete(row.name)
try:
    ml.datastores.get(box.name)
except ResourceNotFoundError as error:
    assert box.name in str(error), error
else:
    raise AssertionError("it was deleted")
there = Data(name=f"{name}-there", path="azureml://datastores/workspaceblobstore/paths/a/b/")
assert ml.data.create_or_update(there).path == there.path
print(json.dumps({"done": mark}))
print("\nall done")
