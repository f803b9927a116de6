"""Trains the two sample models on scikit-learn's built-in diabetes data; run by the sample's own interpreter.

usage: train.py FOLDER   writes FOLDER/ridge/model/model.pkl and FOLDER/boosting/model/model.pkl
"""

import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODELS = {
    "ridge": Ridge(alpha=1.0),
    "boosting": GradientBoostingRegressor(n_estimators=80, max_depth=2, random_state=0),
}


def main() -> None:
    data = load_diabetes(scaled=False)
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, random_state=0)
    for name, regressor in MODELS.items():
        model = make_pipeline(StandardScaler(), regressor).fit(train_x, train_y)
        folder = Path(sys.argv[1]) / name / "model"
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, folder / "model.pkl")
        print(f"{name}: R2 {model.score(test_x, test_y):.3f} on {len(test_y)} patients held out")


if __name__ == "__main__":
    main()
