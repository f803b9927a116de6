"""An MLflow model served by us against `mlflow models serve`, and against the pyfunc wrapper alone.

    python benchmarks/mlflow_models.py [--rounds 3] [--seconds 2] [--connections 8] [--python <interpreter>]

Builds a throw-away environment with MLflow, scikit-learn and pandas, unless `--python` names one that has them.
Two ridge models over ten columns: one with a signature of columns, one of a tensor. First the work of one request
inside one process, then both servers in turn over HTTP, then a forest with and without micro-batches. Ratios are taken
within a round: the machine's other work moves absolute figures.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
UV = (sys.executable, "-m", "uv")
PACKAGES = ("mlflow", "scikit-learn", "pandas", "skops", "uvicorn")
COLUMNS = [f"c{number}" for number in range(10)]
ROW = [0.1 * number for number in range(10)]
SPLIT = {"columns": COLUMNS, "data": [ROW]}
BODIES = {
    "columns": ({"input_data": SPLIT}, {"dataframe_split": SPLIT}),
    "tensor": ({"input_data": [ROW]}, {"inputs": [ROW]}),
}
MAKE = """
import sys
import mlflow.sklearn, numpy as np, pandas as pd
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
folder, *packages = sys.argv[1:]
frame = pd.DataFrame(np.random.default_rng(0).random((500, 10)), columns=[f"c{n}" for n in range(10)])
kinds = {"columns": Ridge(), "tensor": Ridge(), "forest": RandomForestRegressor(50)}
for name, kind in kinds.items():
    given = frame.values if name == "tensor" else frame
    model = kind.fit(given, frame.sum(axis=1))
    signature = infer_signature(given, model.predict(given))
    mlflow.sklearn.save_model(
        model, f"{folder}/{name}", signature=signature, pip_requirements=packages,
        serialization_format="cloudpickle",
    )
"""
INSIDE = """
import json, sys, time
folder, repository, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, repository)
import numpy as np, pandas as pd
from inference_server.mlflow_model import MlflowModel
bodies = json.loads(sys.argv[4])

class Sent:
    method, flags = 1, 0
    def __init__(self, body): self.body = body

def each(act):
    act()
    began = time.perf_counter()
    for _ in range(count): act()
    return (time.perf_counter() - began) * 1000 / count

told = {}
for name, (ours, _) in bodies.items():
    model = MlflowModel({"scoring_timeout_ms": 60000, "mlflow_folder": f"{folder}/{name}"})
    model.init(folder)
    body = json.dumps(ours).encode()
    def own(): json.dumps(model.run(**model.arguments(Sent(body))))
    def wrapper():
        data = json.loads(body)["input_data"]
        given = pd.DataFrame(data["data"], columns=data["columns"]) if name == "columns" else np.array(data)
        json.dumps(model._model.predict(given).tolist())
    sent = model.arguments(Sent(body))["data"]
    def library(): model._predict(sent)
    told[name] = [(each(own), each(wrapper), each(library)) for _ in range(3)]
print(json.dumps(told))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--python", type=Path, help="of an environment with MLflow")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portico-mlflow-") as name:
        root = Path(name)
        python = chosen.python or build_environment(root)
        models = root / "models"
        subprocess.run([python, "-c", MAKE, models, *PACKAGES], check=True, capture_output=True)
        report_inside(python, models)
        for model in BODIES:
            report_servers(python, models, model, chosen)
        report_batches(python, models, chosen)


def build_environment(root: Path) -> Path:
    subprocess.run([*UV, "venv", "-q", "--python", sys.executable, root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    subprocess.run([*UV, "pip", "install", "-q", "--python", python, *PACKAGES], check=True)
    return python


def report_inside(python: Path, models: Path) -> None:
    command = [str(python), "-c", INSIDE, str(models), str(REPOSITORY), "300", json.dumps(BODIES)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print("One request in one process, JSON to JSON (milliseconds)\n")
    print("| model | ours | pyfunc | ratio | of ours in the library |\n|---|---|---|---|---|")
    for name, rounds in json.loads(done.stdout).items():
        own, wrapper, library = (statistics.median(part) for part in zip(*rounds, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs, _ in rounds)
        print(f"| {name} | {own:.3f} | {wrapper:.3f} | {ratio:.1f} x | {library:.3f} |")


def report_servers(python: Path, models: Path, name: str, chosen: argparse.Namespace) -> None:
    ours, theirs = BODIES[name]
    rates: list[tuple[float, float]] = []
    for _ in range(chosen.rounds):
        with served_by_us(python, models, name) as port:
            own = offer(port, "/score", ours, chosen)
        with served_by_mlflow(python, models, name) as port:
            rates.append((own, offer(port, "/invocations", theirs, chosen)))
    own, other = (statistics.median(part) for part in zip(*rates, strict=True))
    ratio = statistics.median(own / other for own, other in rates)
    print(
        f"\n{name}, {chosen.connections} connections, one worker each: ours {own:.0f} a second, "
    )
    print(f"mlflow models serve {other:.0f}; {ratio:.1f} x")


def report_batches(python: Path, models: Path, chosen: argparse.Namespace) -> None:
    ours, _ = BODIES["columns"]
    rates: list[tuple[float, float]] = []
    for _ in range(chosen.rounds):
        found = []
        for most in (1, 32):
            with served_by_us(python, models, "forest", PORTICO_MAX_BATCH=str(most)) as port:
                found.append(offer(port, "/score", ours, chosen))
        rates.append((found[0], found[1]))
    alone, together = (statistics.median(part) for part in zip(*rates, strict=True))
    ratio = statistics.median(together / alone for alone, together in rates)
    print(
        f"\nA forest, {chosen.connections} connections, one worker: {alone:.0f} a second one by one, "
        f"{together:.0f} in micro-batches; {ratio:.1f} x"
    )


@contextmanager
def served_by_us(python: Path, models: Path, name: str, **variables: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "inference_server", "--python", str(python)]
    command += ["--model_dir", str(models), "--port", str(port)]
    more = {"PYTHONPATH": str(REPOSITORY), "MLFLOW_MODEL_FOLDER": name, **variables}
    with running(command, port, {**more, "PORTICO_LOG_REQUESTS": "false"}, "/"):
        yield port


@contextmanager
def served_by_mlflow(python: Path, models: Path, name: str) -> Iterator[int]:
    port = free_port()
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(models / name)]
    command += ["-p", str(port), "--env-manager", "local", "--workers", "1"]
    path = f"{python.parent}:{os.environ['PATH']}"
    with running(command, port, {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}, "/ping"):
        yield port


@contextmanager
def running(command: list[str], port: int, more: dict[str, str], health: str) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 180
        while not is_healthy(port, health):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"It does not answer: {' '.join(command)}")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def is_healthy(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def offer(port: int, path: str, body: object, chosen: argparse.Namespace) -> float:
    """Requests a second with every connection kept busy."""
    data = json.dumps(body).encode()
    ends = time.monotonic() + chosen.seconds
    counts: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        count = 0
        while time.monotonic() < ends:
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise SystemExit(f"{answer.status}: {text[:300]!r}")
            count += 1
        counts.append(count)

    callers = [threading.Thread(target=ask) for _ in range(chosen.connections)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sum(counts) / float(chosen.seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
