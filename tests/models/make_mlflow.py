"""Makes MLflow models with MLflow itself: `python make_mlflow.py <folder> <package> ...`, the packages they will need.

Run by the interpreter of an environment that has them all. Where PyTorch is there as well, models of it are made, too.
"""
# mypy: ignore-errors

import importlib.util
import os
import sys
import warnings

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
warnings.simplefilter("ignore")

import lightgbm  # noqa: E402
import mlflow.lightgbm  # noqa: E402
import mlflow.pyfunc  # noqa: E402
import mlflow.sklearn  # noqa: E402
import mlflow.xgboost  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import xgboost  # noqa: E402
from mlflow.models import ModelSignature, infer_signature  # noqa: E402
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema  # noqa: E402
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage  # noqa: E402
from mlflow.types.schema import Array, Map, Object, Property  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

folder, *packages = sys.argv[1:]
COLUMNS = [f"c{number}" for number in range(10)]


class Scaled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["x"].iloc[0] < 0:
            raise ValueError("nothing below zero")
        scaled = model_input["x"] * params["factor"]
        return pd.DataFrame({"scaled": scaled, "root": np.sqrt(scaled - 1)})


class Telling(mlflow.pyfunc.PythonModel):
    """Answers what it was given."""

    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pd.DataFrame):
            return [repr(row) for row in model_input.itertuples()]
        return [repr(model_input)]


class Hinted(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[dict[str, int]]) -> list[int]:
        return [sum(one.values()) for one in model_input]


class Chat(mlflow.pyfunc.ChatModel):
    def predict(self, context, messages, params):
        answer = ChatMessage(role="assistant", content=messages[-1].content * params.n)
        return ChatCompletionResponse(choices=[ChatChoice(index=0, message=answer)], created=1)


random = np.random.default_rng(0)
frame = pd.DataFrame(random.random((60, 10)), columns=COLUMNS)
sums = frame.sum(axis=1)
high = (sums > sums.median()).astype("int64")


def keep(flavor, model, name, given, **more):
    signature = infer_signature(given, more.pop("answers", None)) if given is not None else None
    flavor.save_model(
        model, f"{folder}/{name}", signature=signature, pip_requirements=packages, **more
    )


ridge = Ridge().fit(frame, sums)
answers = ridge.predict(frame)
keep(mlflow.sklearn, ridge, "ridge", frame, answers=answers)
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, high)
keep(mlflow.sklearn, pipeline, "pipeline", frame)
keep(mlflow.sklearn, pipeline, "chances", frame, pyfunc_predict_fn="predict_proba")
keep(mlflow.sklearn, Ridge().fit(frame.values, sums), "tensor", frame.values)
keep(mlflow.sklearn, Ridge().fit(frame.values, sums), "bare", None)
keep(
    mlflow.lightgbm,
    lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(frame, sums),
    "lightgbm",
    frame,
)
keep(mlflow.xgboost, xgboost.XGBRegressor(n_estimators=5).fit(frame, sums), "xgboost", frame)
booster = xgboost.train({}, xgboost.DMatrix(frame, sums), num_boost_round=5)
keep(mlflow.xgboost, booster, "booster", frame)
mixed = pd.DataFrame({"word": ["a", "b"] * 30, "number": random.random(60)})
by_name = ColumnTransformer([("word", OneHotEncoder(), ["word"])], remainder="passthrough")
keep(mlflow.sklearn, make_pipeline(by_name, Ridge()).fit(mixed, sums), "mixed", mixed)
twice = ColumnTransformer([("one", StandardScaler(), ["c1"])], remainder="drop")
keep(mlflow.sklearn, make_pipeline(twice, Ridge()).fit(frame, sums), "by_name", frame)
mlflow.pyfunc.save_model(
    f"{folder}/custom",
    python_model=Scaled(),
    pip_requirements=packages,
    signature=ModelSignature(
        Schema([ColSpec("double", "x"), ColSpec("string", "s", required=False)]),
        params=ParamSchema([ParamSpec("factor", "double", 2.0)]),
    ),
)
nested = Schema(
    [
        ColSpec(Array("double"), "list"),
        ColSpec(
            Object([Property("word", "string"), Property("n", "long", required=False)]), "object"
        ),
        ColSpec(Map("long"), "map"),
    ]
)
for name, model, more in (
    ("nested", Telling(), {"signature": ModelSignature(nested)}),
    ("open", Telling(), {}),
    ("hinted", Hinted(), {}),
    ("chat", Chat(), {}),
):
    mlflow.pyfunc.save_model(
        f"{folder}/{name}", python_model=model, pip_requirements=packages, **more
    )

if importlib.util.find_spec("torch"):
    import mlflow.pytorch
    import torch

    torch.manual_seed(0)
    single = frame.astype("float32")
    network = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    pictures = random.random((2, 1, 4, 4)).astype("float32")
    seeing = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    old = {"serialization_format": "pickle"}
    keep(mlflow.pytorch, network, "torch_columns", single, **old)
    keep(mlflow.pytorch, network, "torch_tensor", single.values, input_example=single.values[:3])
    keep(mlflow.pytorch, seeing, "torch_pictures", pictures, **old)
