"""From the wish for a deployment to its first answer, for an environment that is known, on both runtimes.

    .venv/bin/python -m benchmarks.first_answer [rounds]

A portal of its own loads the sample, then deployments like the sample's are created over the API one after the other;
the clock runs from the PUT to the first 200 of the gateway. Nothing is mocked; without an engine only processes are
measured.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import httpx

from tests.house import ROOT, House

API = {"api-version": "2024-10-01"}
PLACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico"
    "/providers/Microsoft.MachineLearningServices/workspaces/main/onlineEndpoints/diabetes"
)
ROW = {"data": [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87]]}
LONGEST_SECONDS = 120


def measure(runtime: str, rounds: int) -> list[float]:
    """Seconds of each round on this runtime."""
    with House(variables={"PORTICO_RUNTIME": runtime}) as house:
        subprocess.run(
            [house.python, "-m", "cli", "sample"],
            cwd=ROOT,
            env=house.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with httpx.Client(
            base_url=house.tls_url, verify=house.tls, headers=house.authorization, timeout=30
        ) as api:
            like = api.get(f"{PLACE}/deployments/blue", params=API).raise_for_status().json()
            keys = api.post(f"{PLACE}/listKeys", params=API).raise_for_status().json()
            body = {name: like[name] for name in ("location", "properties", "sku")}
            return [
                _round(api, house, body, keys["primaryKey"], f"new-{number}")
                for number in range(rounds)
            ]


def _round(api: httpx.Client, house: House, body: dict[str, object], key: str, name: str) -> float:
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": name}
    with httpx.Client(base_url=house.scoring_url, verify=house.tls, headers=headers) as caller:
        began = time.perf_counter()
        api.put(f"{PLACE}/deployments/{name}", params=API, json=body).raise_for_status()
        while caller.post("/diabetes/score", json=ROW).status_code != 200:
            if time.perf_counter() - began > LONGEST_SECONDS:
                raise SystemExit(f"{name} does not answer within {LONGEST_SECONDS} s")
            time.sleep(0.02)
        seconds = time.perf_counter() - began
    api.delete(f"{PLACE}/deployments/{name}", params=API).raise_for_status()
    return seconds


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for runtime in ("process", "docker"):
        found = measure(runtime, rounds)
        print(
            f"{runtime:8} create to first 200: median {statistics.median(found):.2f} s, "
            f"{min(found):.2f} to {max(found):.2f} s ({rounds} rounds)",
            flush=True,
        )


if __name__ == "__main__":
    main()
