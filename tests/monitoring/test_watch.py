"""The whole process, with a real Envoy beside it: what it is for, and that it may die at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum

from endpoints.gateway import publish
from endpoints.gateway.envoy import Envoy
from endpoints.models import OnlineEndpoint, Upstream
from monitoring import heartbeat, segments
from monitoring.models import Follower, Heartbeat, TrafficMinute
from portal.gateway import gateway_settings
from tests.factories import make_online_endpoint
from tests.house import ROOT, free_ports
from workspaces import vault

pytestmark = [
    pytest.mark.real,
    pytest.mark.alone,  # the flush takes from those that come after it in this process what they need
    # Other processes must see the rows, and the flush afterwards takes those of the migrations along.
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


class Model(ThreadingMixIn, UnixStreamServer):
    """An instance that answers everything with its name."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def address_string(self) -> str:
                return "envoy"

            def log_message(self, *_: Any) -> None:
                pass

        path.unlink(missing_ok=True)
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Stage:
    def __init__(self) -> None:
        for folder in (settings.RUN_DIR, settings.LOG_DIR, settings.INSTANCES_ROOT):
            folder.mkdir(parents=True, exist_ok=True)
        gateway, plain, studio, studio_tls = free_ports(4)
        self.envoy = Envoy(
            replace(
                gateway_settings(),
                gateway_port=gateway,
                gateway_http_port=plain,
                studio_http_port=studio,
                studio_tls_port=studio_tls,
                bind_address="127.0.0.1",
            )
        )
        self.model = Model(settings.RUN_DIR / "model.sock")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{plain}", timeout=10)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **variables: str) -> None:
        """Start `watch`, on the test's own database unless told otherwise."""
        url = urlsplit(settings.DATABASE_URL)
        environment = {
            **os.environ,
            "PORTICO_HOME": str(settings.PORTICO_HOME),
            "DATABASE_URL": url._replace(path="/" + connection.settings_dict["NAME"]).geturl(),
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "watch"], cwd=ROOT, env=environment
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        self.envoy.drain_and_stop(0)
        self.client.close()
        self.model.shutdown()
        self.model.server_close()
        for folder in (settings.LOG_DIR, settings.SEGMENTS_ROOT, settings.INSTANCES_ROOT):
            shutil.rmtree(folder, ignore_errors=True)
        (settings.SECRETS_DIR / "gateway.jsonl").unlink(missing_ok=True)

    def endpoint(self, name: str) -> OnlineEndpoint:
        """An endpoint whose one deployment is the model here."""
        endpoint = make_online_endpoint(name=name)
        endpoint.traffic = {"blue": 100}
        endpoint.save(update_fields=["traffic"])
        with transaction.atomic():
            publish.add_upstream(endpoint, "blue", publish.UpstreamFacts(1, 100, 5000))
            publish.set_addresses(endpoint, "blue", [f"unix:{settings.RUN_DIR / 'model.sock'}"])
        return endpoint

    def score(self, endpoint: OnlineEndpoint, key: str | None = None) -> int:
        key = key or vault.unseal(endpoint.primary_key_sealed)
        try:
            return self.client.post(
                f"/{endpoint.name}/score",
                headers={"authorization": f"Bearer {key}"},
                content=b"{}",
            ).status_code
        except httpx.TransportError:
            return 0

    def obeys(self, endpoint: OnlineEndpoint, key: str) -> bool:
        return self.score(endpoint, key) == 200

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> float:
        """Wait until it holds; how long that took."""
        begun = time.monotonic()
        while not condition():
            assert self.process is None or self.process.poll() is None, "watch ended"
            assert time.monotonic() - begun < seconds, "waited in vain"
            time.sleep(0.005)
        return time.monotonic() - begun


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def has_reached(folder: Path, cursor: int) -> bool:
    return segments.last_cursor(folder) == cursor


def change_key(endpoint: OnlineEndpoint, key: str) -> None:
    endpoint.primary_key_sealed = vault.seal(key)
    endpoint.save(update_fields=["primary_key_sealed"])
    publish.touch(endpoint)


def test_a_change_reaches_the_gateway_and_an_endpoint_that_is_gone_stops_answering(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    iris = stage.endpoint("iris")
    stage.start()
    stage.envoy.start(workers=2)
    stage.until(lambda: stage.score(iris) == 200)
    took = []
    for number in range(10):
        with transaction.atomic():
            change_key(iris, f"key-{number}")
        took.append(stage.until(partial(stage.obeys, iris, f"key-{number}")))
    record_property("seconds_to_obey", sorted(took))
    print("seconds until a change is obeyed:", [round(each, 3) for each in sorted(took)])
    late = stage.endpoint("late")
    stage.until(lambda: stage.score(late) == 200)
    with transaction.atomic():
        key = vault.unseal(late.primary_key_sealed)
        publish.forget(late)
        Upstream.objects.filter(endpoint=late).delete()
        late.delete()
    stage.until(lambda: stage.score(late, key) in (401, 404))
    assert stage.score(iris, "key-9") == 200


def test_scoring_goes_on_while_watch_is_killed_and_the_changes_are_made_up_for(
    stage: Stage,
) -> None:
    iris = stage.endpoint("iris")
    stage.start()
    stage.envoy.start(workers=2)
    stage.until(lambda: stage.score(iris) == 200)
    stage.kill()
    with transaction.atomic():
        change_key(iris, "new")
    assert stage.score(iris, "new") == 401
    stage.start()
    stage.until(lambda: stage.score(iris, "new") == 200)


def test_a_new_envoy_is_told_from_the_snapshot_while_the_database_is_away(stage: Stage) -> None:
    iris = stage.endpoint("iris")
    stage.start()
    stage.envoy.start(workers=2)
    stage.until(lambda: stage.score(iris) == 200)
    assert stage.stop() == 0
    stage.envoy.drain_and_stop(0)
    stage.start(DATABASE_URL="postgresql://portico@/portico?host=/nowhere", REDIS_URL="unix:///no")
    stage.envoy.start(workers=2)
    stage.until(lambda: stage.score(iris) == 200)
    snapshot = settings.SECRETS_DIR / "gateway.jsonl"
    assert snapshot.stat().st_mode & 0o777 == 0o600


def test_every_request_is_counted_although_watch_dies_and_the_log_is_put_aside(
    stage: Stage,
) -> None:
    iris = stage.endpoint("iris")
    stage.start()
    stage.envoy.start(workers=2)
    stage.until(lambda: stage.score(iris) == 200)
    # The rows of the attempts above are written within a second.
    counted = Follower.objects.filter(name="access.log")
    stage.until(lambda: counted.filter(rows__gt=0).exists())
    sent = 0
    for life in range(3):
        for _ in range(50):
            assert stage.score(iris) == 200
            sent += 1
        stage.kill()
        if life == 1:
            settings.ACCESS_LOG.rename(f"{settings.ACCESS_LOG}.20260101T000000000000")
        stage.start()

    def requests() -> int:
        found = TrafficMinute.objects.filter(endpoint_name="iris", code=200)
        return int(found.aggregate(total=Sum("requests"))["total"] or 0)

    stage.until(lambda: requests() >= sent + 1)
    assert requests() == sent + 1
    row = TrafficMinute.objects.filter(endpoint_name="iris", code=200).first()
    assert row is not None
    assert (row.deployment_name, row.model_code) == ("blue", 0)
    assert row.latency_us >= row.model_us > 0
    assert row.response_bytes >= 2 * row.requests
    assert counted.get().unreadable_rows == 0


def test_what_an_instance_prints_is_kept_and_watch_gives_signs_of_life(stage: Stage) -> None:
    stage.start()
    folder = settings.INSTANCES_ROOT / "iris.blue.7.1.0"
    folder.mkdir()
    with (folder / "console.log").open("a") as console:
        console.write("hello\n")
    kept = settings.SEGMENTS_ROOT / "iris" / "blue.7"
    stage.until(lambda: segments.last_cursor(kept) == 1)
    stage.until(lambda: Heartbeat.objects.filter(name=heartbeat.WATCH).exists())
    assert [silence.name for silence in heartbeat.silent()] == [heartbeat.WORKER]
    with (folder / "console.log").open("a") as console:
        took = []
        for number in range(2, 12):
            console.write("again\n")
            console.flush()
            took.append(stage.until(partial(has_reached, kept, number)))
    print("seconds from print to segment:", [round(each, 3) for each in sorted(took)])
    assert stage.stop() == 0
