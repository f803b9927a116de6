"""Asks MLflow models by our way and by MLflow's own: `python compare_mlflow.py <folder of models> <repository>`.

Prints what came of it as JSON. Run by the interpreter of an environment that has what the models need.
"""
# mypy: ignore-errors

import json
import os
import sys
import warnings

folder, repository = sys.argv[1:]
sys.path.insert(0, repository)
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from inference_server.mlflow_answers import plain  # noqa: E402
from inference_server.mlflow_model import MlflowModel  # noqa: E402


class Sent:
    method = 1
    flags = 0

    def __init__(self, body):
        self.body = json.dumps(body).encode()


random = np.random.default_rng(1)
told = {}
for name in sorted(os.listdir(folder)):
    model = MlflowModel({"scoring_timeout_ms": 1000, "mlflow_folder": f"{folder}/{name}"})
    model.init(folder)
    same = []
    for rows in (1, 2, 7, 64):
        frame = pd.DataFrame(random.random((rows, 10)) * 3, columns=[f"c{n}" for n in range(10)])
        if name == "mixed":
            frame = pd.DataFrame({"word": ["a", "b", "b"][:rows], "number": frame["c0"][:3]})
        elif name == "custom":
            frame = pd.DataFrame({"x": frame["c0"] + 1})
        is_list = name in ("tensor", "bare")
        sent = frame.values.tolist() if is_list else frame.to_dict(orient="split")
        ours = model.run(**model.arguments(Sent({"input_data": sent})))
        theirs = plain(model._model.predict(np.array(sent) if is_list else frame))
        same.append(ours == theirs)
    told[name] = {"is_same": all(same), "takes_arrays": model._takes_arrays}
print(json.dumps(told))
