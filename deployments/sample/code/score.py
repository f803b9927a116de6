"""Predicts the progression of diabetes one year on, from ten numbers a patient."""

import json
import logging
import os
from pathlib import Path

import joblib
import numpy

FEATURES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
model = None


def init():
    global model
    path = Path(os.environ["AZUREML_MODEL_DIR"]) / "model" / "model.pkl"
    model = joblib.load(path)
    logging.info("model loaded: %s", type(model[-1]).__name__)


def run(raw_data):
    rows = json.loads(raw_data)["data"]
    data = numpy.array(rows, dtype=float)
    if data.ndim != 2 or data.shape[1] != len(FEATURES):
        raise ValueError(f"data must be rows of {len(FEATURES)} numbers: {', '.join(FEATURES)}")
    return model.predict(data).round(2).tolist()
