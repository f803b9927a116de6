"""A portal with many endpoints: its lists over REST and in the studio, and a page while SDK clients poll.

    python -m benchmarks.many_endpoints [--endpoints 1000] [--clients 50] [--rounds 3] [--pages 20]

Starts a portal of its own in a temporary home. A client polls an operation every second over TLS, as the SDK does while
it waits. Ratios are taken within a round, calm against busy; times are of whole requests, gateway included.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.house import House

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico/providers"
    "/Microsoft.MachineLearningServices/workspaces/main"
)
POLL_SECONDS = 1.0
MAKE = """
from django.db import transaction
from endpoints.changes import EndpointSpec, create_endpoint
from workspaces.models import Quota, Workspace
from workspaces.setup import administrator

by, workspace = administrator(), Workspace.objects.get()
Quota.objects.create(workspace=workspace, resource="endpoints", limit={count})
with transaction.atomic():
    for number in range({count}):
        create_endpoint(workspace, EndpointSpec(name=f"model-{{number:05}}"), by=by)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int, default=20)
    chosen = parser.parse_args()
    with House() as house:
        done = house.run("shell", "-c", MAKE.format(count=chosen.endpoints))
        if done.returncode:
            raise SystemExit(done.stderr)
        api = httpx.Client(base_url=house.url, headers=house.authorization, trust_env=False)
        studio = signed_in(house)
        figures: dict[str, list[tuple[float, float]]] = {}
        for _ in range(chosen.rounds):
            calm = measure(api, studio, chosen)
            with polling(house, chosen.clients):
                busy = measure(api, studio, chosen)
            for name in calm:
                figures.setdefault(name, []).append((calm[name], busy[name]))
    report(figures, chosen)


def measure(
    api: httpx.Client, studio: httpx.Client, chosen: argparse.Namespace
) -> dict[str, float]:
    """Median milliseconds of each kind of request."""
    every = f"{WORKSPACE}/onlineEndpoints?count={chosen.endpoints}"
    return {
        "REST, all in one page": timed(api, every, 5),
        "REST, first 100": timed(api, f"{WORKSPACE}/onlineEndpoints", chosen.pages),
        "studio, list page": timed(studio, "/w/main/endpoints", chosen.pages),
    }


def timed(client: httpx.Client, path: str, times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        client.get(path).raise_for_status()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def signed_in(house: House) -> httpx.Client:
    client = httpx.Client(base_url=house.url, follow_redirects=True, trust_env=False)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/sign-in").text)
    assert token is not None
    fields = {"username": "admin", "password": house.admin_password}
    client.post(
        "/sign-in",
        data={"csrfmiddlewaretoken": token[1], **fields},
        headers={"Referer": f"{house.url}/sign-in"},
    ).raise_for_status()
    return client


@contextmanager
def polling(house: House, clients: int) -> Iterator[None]:
    """So many clients that wait for an operation, each with a connection of its own."""
    context = ssl.create_default_context(cafile=str(house.ca_path))
    address = f"{WORKSPACE}/onlineEndpoints/model-00000"
    body = {"location": "local", "properties": {"authMode": "Key"}}
    with httpx.Client(
        base_url=house.tls_url, headers=house.authorization, verify=context, trust_env=False
    ) as client:
        operation = client.put(address, json=body).headers["Azure-AsyncOperation"]
    done = threading.Event()

    def poll(number: int) -> None:
        done.wait(POLL_SECONDS * number / clients)
        with httpx.Client(headers=house.authorization, verify=context, trust_env=False) as client:
            while not done.is_set():
                client.get(operation).raise_for_status()
                done.wait(POLL_SECONDS)

    threads = [threading.Thread(target=poll, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(POLL_SECONDS)  # until the last of them polls
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def report(figures: dict[str, list[tuple[float, float]]], chosen: argparse.Namespace) -> None:
    print(
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}, "
        f"{chosen.endpoints} endpoints, {chosen.clients} clients\n"
    )
    print(f"{'':24}{'calm ms':>10}{'polled ms':>11}{'ratio (range)':>20}")
    for name, pairs in figures.items():
        ratios = [busy / calm for calm, busy in pairs]
        calm, busy = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:24}{calm:10.1f}{busy:11.1f}{span:>20}")


if __name__ == "__main__":
    main()
