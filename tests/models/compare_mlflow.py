"""Asks MLflow models by our way and by MLflow's own server: `python compare_mlflow.py <folder of models> <repository>`.

Prints what came of it as JSON. Run by the interpreter of an environment that has what the models need. With PyTorch,
which is too large for the tests, by hand: `make_mlflow.py` in such an environment, then this one.
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

from inference_server.frames import CSV_BODY, INVOCATIONS  # noqa: E402
from inference_server.mlflow_model import MlflowModel  # noqa: E402
from inference_server.scoring_request import BadRequest  # noqa: E402

JSON, CSV = "application/json", "text/csv"
WORD = {"word": "a", "n": 2}
NESTED = {"list": [1.5, 2], "object": WORD, "map": {"k": 3}}
MESSAGES = [{"role": "user", "content": "ha"}]
OWN = {
    "nested": [
        {"inputs": [NESTED]},
        {"dataframe_records": [NESTED]},
        {"dataframe_split": {"columns": list(NESTED), "data": [list(NESTED.values())]}},
        {"dataframe_records": [{**NESTED, "map": {"k": "x"}}]},
        {"dataframe_records": [{**NESTED, "object": {"n": 2}}]},
    ],
    "open": [
        {"inputs": "text"},
        {"inputs": {"a": [1]}},
        {"inputs": [{"a": 1}]},
        {"instances": [{"a": 1}]},
        {"dataframe_split": {"columns": ["a"], "index": [7], "data": [["x"]]}},
    ],
    "hinted": [{"inputs": [{"a": 1, "b": 2}]}, {"inputs": [{"a": "x"}]}],
    "chat": [{"messages": MESSAGES}, {"messages": MESSAGES, "n": 2}, {"messages": "ha"}],
}


class Sent:
    method = 1

    def __init__(self, body, flags):
        self.body = body
        self.flags = flags


def by_us(model, body, kind):
    try:
        asked = model.arguments(Sent(body, INVOCATIONS | (CSV_BODY if kind == CSV else 0)))
        return 200, json.loads(json.dumps(model.run(**asked)))
    except BadRequest as refusal:
        return refusal.status, None


def by_mlflow(model, body, kind):
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.pyfunc import scoring_server  # noqa: PLC0415

    schema = model.metadata.get_input_schema()
    try:
        answer = scoring_server.invocations(body, kind, model, schema)
    except MlflowException as error:
        return error.get_http_status_code(), None
    return answer.status, json.loads(answer.response)


def bodies_for(name):
    """Every form of requests of one row and of more, and some that do not fit."""
    if name in OWN:
        return [(body, JSON) for body in OWN[name]]
    found = []
    for rows in (1, 2, 7, 64):
        frame = pd.DataFrame(random.random((rows, 10)) * 3, columns=[f"c{n}" for n in range(10)])
        if name == "torch_pictures":
            pictures = random.random((rows, 1, 4, 4)).tolist()
            found += [({form: pictures}, JSON) for form in ("inputs", "instances")]
            continue
        if name in ("tensor", "bare", "torch_tensor"):
            found += [({form: frame.values.tolist()}, JSON) for form in ("inputs", "instances")]
            continue
        if name == "mixed":
            frame = pd.DataFrame({"word": ["a", "b", "b"][:rows], "number": frame["c0"][:3]})
        elif name == "custom":
            frame = pd.DataFrame({"x": frame["c0"] + 1})
        records = json.loads(frame.to_json(orient="records", double_precision=15))
        columns = {column: [row[column] for row in records] for column in frame.columns}
        split = {"columns": list(columns), "data": [list(row.values()) for row in records]}
        short = {"columns": list(columns)[1:], "data": [list(row.values())[1:] for row in records]}
        found += [
            ({"dataframe_split": split}, JSON),
            ({"dataframe_split": short}, JSON),
            ({"dataframe_records": records}, JSON),
            ({"instances": records}, JSON),
            ({"inputs": records}, JSON),
            ({"inputs": columns}, JSON),
            (frame.to_csv(index=False), CSV),
        ]
    return found


def is_same_together(model):
    """Whether requests of one to three rows are answered alike in one call; None where they never share one."""
    if model.run_batch is None:
        return None
    tensors = model._signature.tensors
    shape = tensors[0].shape[1:] if tensors else (len(model._signature.names),)
    sent = [{"input_data": random.random((1 + place % 3, *shape)).tolist()} for place in range(7)]
    asked = [model.arguments(Sent(json.dumps(body).encode(), 0)) for body in sent]
    alone = [model.run(**one) for one in asked]
    together = model.run_batch(asked)
    near = {"rtol": 1e-4, "atol": 1e-6}
    return all(
        np.allclose(numbers(one), numbers(other), **near)
        for one, other in zip(alone, together, strict=True)
    )


def numbers(answer):
    return [list(row.values()) if isinstance(row, dict) else row for row in answer]


random = np.random.default_rng(1)
told = {}
for name in sorted(os.listdir(folder)):
    options = {"scoring_timeout_ms": 1000, "mlflow_folder": f"{folder}/{name}", "max_batch": 8}
    model = MlflowModel(options)
    model.init(folder)
    different = []
    for body, kind in bodies_for(name):
        sent = body.encode() if kind == CSV else json.dumps(body).encode()
        ours, theirs = by_us(model, sent, kind), by_mlflow(model._model, sent, kind)
        if ours != theirs:
            different.append([str(body)[:200], ours, theirs])
    told[name] = {
        "different": different,
        "takes_arrays": model._takes_arrays,
        "is_same_together": is_same_together(model),
    }
print(json.dumps(told))
