"""Run by the SDK's own Python: an MLflow model is registered, deployed without code and environment, and asked."""

# mypy: ignore-errors
import json
import sys
from pathlib import Path

from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.core.exceptions import HttpResponseError
from driving import client_of

# As mlflow.pyfunc.save_model(loader_module=…) writes it; a library of models would only take longer to install.
MLMODEL = """\
flavors:
  python_function:
    code: code
    data: data/weight.json
    env:
      conda: conda.yaml
    loader_module: weighing
    python_version: 3.11.2
model_size_bytes: 12
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}, {"type": "string", "name": "note", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]'
  params: '[{"name": "power", "default": 1, "shape": null, "type": "long"}]'
utc_time_created: '2026-01-01 00:00:00.000000'
"""
CODE = """\
import json


class Weighing:
    def __init__(self, weight):
        self.weight = weight

    def predict(self, data, params=None):
        return (self.weight * data["x"] ** (params or {}).get("power", 1)).to_numpy()


def _load_pyfunc(path):
    with open(path) as file:
        return Weighing(json.load(file)["weight"])
"""
CONDA = "dependencies:\n- python=3.11\n- pip:\n  - mlflow-skinny\n  - pandas\n"
base, folder = sys.argv[1], Path(sys.argv[2])
for name, text in {
    "model/MLmodel": MLMODEL,
    "model/conda.yaml": CONDA,
    "model/code/weighing.py": CODE,
    "model/data/weight.json": '{"weight": 2}',
}.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)

ml = client_of(base)
model = ml.models.create_or_update(
    Model(name="sdk-mlflow", path=str(folder / "model"), type=AssetTypes.MLFLOW_MODEL)
)
assert (model.type, ml.models.get("sdk-mlflow", model.version).type) == ("mlflow_model",) * 2
ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="sdk-mlflow")).result()
made = ml.online_deployments.begin_create_or_update(
    ManagedOnlineDeployment(
        name="blue",
        endpoint_name="sdk-mlflow",
        model=f"azureml:sdk-mlflow:{model.version}",
        instance_type="Standard_F2s_v2",
        instance_count=1,
    )
).result()
assert made.provisioning_state == "Succeeded"
assert made.code_configuration is None or made.code_configuration.code is None
request = folder / "request.json"


def invoke(body):
    request.write_text(json.dumps(body))
    return json.loads(
        ml.online_endpoints.invoke("sdk-mlflow", deployment_name="blue", request_file=str(request))
    )


split = {"columns": ["x"], "index": [0, 1], "data": [[1.5], [2]]}
assert invoke({"input_data": split}) == [3.0, 4.0]
assert invoke({"input_data": split, "params": {"power": 2}}) == [4.5, 8.0]
assert invoke({"input_data": [{"x": 1, "note": "one"}]}) == [2.0]
for wrong, words in (
    ({"input_data": {"columns": ["note"], "data": [["one"]]}}, "lacks the column x"),
    ({"input_data": [{"x": "1"}]}, "the column x takes numbers (double); row 0 has a text"),
    ({"input_data": split, "params": {"power": 0.5}}, "params.power takes a whole number"),
):
    try:
        invoke(wrong)
    except HttpResponseError as error:
        assert error.status_code == 424 and words in str(error), error
        assert error.response.headers["ms-azureml-model-error-statuscode"] == "400"
    else:
        raise AssertionError(f"{wrong} fits no signature")
assert "Loading the MLflow model" in ml.online_deployments.get_logs("blue", "sdk-mlflow", lines=50)
ml.online_endpoints.begin_delete("sdk-mlflow").result()
print("\nall done")
