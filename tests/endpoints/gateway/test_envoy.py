"""Envoy as a process: found again, reconfigured, drained."""

import os
import signal
import socket
from dataclasses import replace

import httpx
import psutil
import pytest

from endpoints.gateway.envoy import Envoy, EnvoyError, envoy_binary
from tests.endpoints.gateway.conftest import Stage
from workspaces.signing import ensure_signing_key

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def running(stage: Stage) -> None:
    """Starts Envoy again if the test before has stopped it."""
    stage.envoy.start()
    stage.until(stage.envoy.is_ready)


def test_the_binary_is_found_beside_the_packages_that_hide_it() -> None:
    assert envoy_binary().stat().st_size > 50_000_000


def test_whoever_comes_next_adopts_the_running_envoy(stage: Stage) -> None:
    next_one = Envoy(stage.settings)
    assert next_one.pid() == stage.envoy.pid()
    assert next_one.start() == stage.envoy.pid()
    assert next_one.is_ready()
    assert not next_one.needs_restart()


def test_envoy_has_no_environment_and_a_group_of_its_own(stage: Stage) -> None:
    process = psutil.Process(stage.envoy.pid())
    assert process.environ() == {}
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
    assert soft > 1024


def test_only_the_owner_may_read_files_and_talk_to_sockets(stage: Stage) -> None:
    settings = stage.settings
    paths = [
        settings.bootstrap_path,
        settings.listeners_path,
        settings.secrets_path,
        settings.admin_socket,
        settings.xds_socket,
        stage.envoy.log_path,
    ]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in paths} == {
        path.name: "0o600" for path in paths
    }


def test_the_access_log_of_envoy_holds_no_key(stage: Stage) -> None:
    stage.publish_one("secretive")
    status, dump = stage.envoy._admin("GET", "/config_dump")
    assert status == 200
    assert "primary-key" not in dump


def test_another_port_is_taken_into_use_without_a_restart(stage: Stage) -> None:
    stage.publish_one("moved")
    port = stage.free_port()
    moved = Envoy(replace(stage.settings, gateway_http_port=port))
    assert not moved.needs_restart()
    moved.write_configuration()
    url = f"http://127.0.0.1:{port}/moved/score"

    def answers() -> bool:
        try:
            return httpx.post(url, headers=stage.client.headers).status_code == 200
        except httpx.TransportError:
            return False

    stage.until(answers)
    stage.envoy.write_configuration()
    stage.until(lambda: not answers())


def test_another_signing_key_is_taken_into_use_without_a_restart(stage: Stage) -> None:
    blue = stage.deployment("blue", stage.model("blue"), weight=100)
    stage.publish("signed", blue, auth_mode="aml_token")
    old = {"authorization": f"Bearer {stage.token(endpoint='signed')}"}
    assert stage.client.post("/signed/score", headers=old).status_code == 200
    other = ensure_signing_key(stage.folder / "other")
    rotated = Envoy(replace(stage.settings, jwks=other.jwks))
    assert not rotated.needs_restart()
    rotated.write_configuration()
    stage.until(lambda: stage.client.post("/signed/score", headers=old).status_code == 401)
    stage.envoy.write_configuration()
    stage.until(lambda: stage.client.post("/signed/score", headers=old).status_code == 200)


def test_a_port_that_is_taken_is_named(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        Envoy(replace(stage.settings, gateway_http_port=port)).write_configuration()
        problem = stage.until(stage.envoy.problem)
        assert "scoring-http" in problem
        assert str(port) in problem
    stage.envoy.write_configuration()
    stage.until(lambda: not stage.envoy.problem())


def test_other_limits_of_the_process_need_a_restart(stage: Stage) -> None:
    assert Envoy(replace(stage.settings, max_connections=7)).needs_restart()


def test_stopping_waits_for_the_request_in_flight(stage: Stage) -> None:
    model = stage.publish_one("drained")
    waiting = stage.background("/drained/score", x_do="wait")
    stage.until(lambda: model.running == 1)
    assert stage.envoy.running_requests() == 1
    stopping = stage.in_background(lambda: stage.envoy.drain_and_stop(20))
    # New requests are still served, and told to leave.
    answer = stage.until(
        lambda: (
            found
            if (found := stage.client.post("/drained/score")).headers.get("connection") == "close"
            else None
        )
    )
    assert answer.status_code == 200
    assert not stopping.done()
    stage.call(model.release.set)
    assert waiting.result().status_code == 200
    stopping.result()
    assert stage.envoy.pid() is None


def test_stopping_waits_no_longer_than_told(stage: Stage) -> None:
    model = stage.publish_one("stuck")
    waiting = stage.background("/stuck/score", x_do="wait")
    stage.until(lambda: model.running == 1)
    stage.envoy.drain_and_stop(0.2)
    assert stage.envoy.pid() is None
    with pytest.raises(httpx.TransportError):
        waiting.result()
    stage.call(model.release.set)


def test_stopping_what_does_not_run_is_success(stage: Stage) -> None:
    stage.envoy.drain_and_stop(1)
    stage.envoy.drain_and_stop(1)
    assert not stage.envoy.is_ready()
    with pytest.raises(EnvoyError, match="does not answer"):
        stage.envoy.running_requests()


def test_a_killed_envoy_is_seen_as_gone_and_started_again(stage: Stage) -> None:
    stage.publish_one("phoenix")
    pid = stage.envoy.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    stage.until(lambda: stage.envoy.pid() is None)
    stage.envoy.start()
    stage.until(stage.envoy.is_ready)
    stage.until(lambda: stage.client.post("/phoenix/score").status_code == 200)
