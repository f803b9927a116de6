"""Settings, swagger and failures to start, as any server of the contract has them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference_server import scripts
from tests.inference_server.serving import (
    OTHER_SERVER,
    Serve,
    Served,
    free_port,
    launch,
    until,
    wait_until_healthy,
)

# Where a server keeps its log apart, a failure to start is only visible there.
VERSIONS = {"2": "2.0", "2.0": "2.0", "3": "3.0.3", "3.0": "3.0.3", "3.1": "3.1.0"}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a config file, and an environment that wins over it."""
    served = launch(
        tmp_path_factory.mktemp("configured"),
        scripts.PLAIN,
        "--model_dir",
        "models",
        files={
            "config.json": json.dumps(
                {
                    "SERVICE_NAME": "from the file",
                    "SERVICE_VERSION": "7",
                    "SCORING_TIMEOUT_MS": 300,
                    "UNKNOWN": 1,
                }
            )
        },
        environment={
            "SERVICE_NAME": "from the environment",
            "SERVICE_PATH_PREFIX": "/some/prefix/",
            "SERVER_VERSION_LOG_RESPONSE_ENABLED": "no",
            "AML_CORS_ORIGINS": "http://one.example",
            "SERVER_PORT": "9",
        },
    )
    wait_until_healthy(served)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def plain(server: Serve) -> Served:
    return server("PLAIN")


class TestSettings:
    def test_the_environment_wins_over_the_file(self, configured: Served) -> None:
        info = configured.call("GET", "/swagger.json").json()["info"]
        assert (info["title"], info["version"]) == ("from the environment", "7")

    def test_the_prefix_is_only_swaggers(self, configured: Served) -> None:
        document = configured.call("GET", "/swagger.json").json()
        assert set(document["paths"]) == {
            "/some/prefix/",
            "/some/prefix/score",
            "/some/prefix/swagger.json",
        }
        assert configured.call("POST", "/some/prefix/score", body="x").status == 404

    def test_the_version_header_may_be_left_out(self, configured: Served) -> None:
        assert configured.call("GET", "/").header("x-ms-server-version") is None

    def test_a_call_over_its_time_is_ended(self, configured: Served) -> None:
        reply = configured.post_json({"do": "sleep", "seconds": 20})
        assert (reply.status, reply.message) == (500, "Scoring timeout after 300 ms")
        assert reply.header("x-ms-run-function-failed") == "True"
        assert reply.header("x-ms-run-fn-exec-ms") is None

    def test_the_same_process_serves_on_after_a_timeout(self, configured: Served) -> None:
        before = configured.post_json({"do": "pid"}).json()
        configured.post_json({"do": "sleep", "seconds": 20})
        assert configured.post_json({"do": "pid"}).json() == before

    def test_scripts_see_where_they_are(self, configured: Served) -> None:
        names = ["AZUREML_MODEL_DIR", "SERVER_PORT", "WORKER_COUNT", "AML_APP_ROOT"]
        names += ["AZUREML_ENTRY_SCRIPT", "HEALTH_PORT"]
        found = configured.post_json({"do": "environment", "names": names}).json()
        assert found == {
            "AZUREML_MODEL_DIR": "models",
            "SERVER_PORT": str(configured.port),
            "HEALTH_PORT": str(configured.port),
            "WORKER_COUNT": "1",
            "AML_APP_ROOT": str(configured.folder),
            "AZUREML_ENTRY_SCRIPT": str(configured.folder / "score.py"),
        }

    def test_the_root_is_on_the_path(self, configured: Served) -> None:
        assert str(configured.folder) in configured.post_json({"do": "path"}).json()

    def test_a_source_folder_is_on_the_path(self, start: Serve) -> None:
        served = start(
            "import beside\ndef init(): pass\ndef run(data): return beside.VALUE",
            files={"src/beside.py": "VALUE = 'found'"},
            environment={"AZUREML_SOURCE_DIRECTORY": "src"},
        )
        wait_until_healthy(served)
        assert served.post_json(1).json() == "found"

    def test_health_may_have_a_port_of_its_own(self, start: Serve) -> None:
        port = free_port()
        served = start(
            scripts.ECHO,
            "--health_port",
            str(port),
            environment={"SEPERATE_HEALTH_ENDPOINT": "true"},
        )
        wait_until_healthy(served)
        other = Served(served.process, served.folder, port)
        assert other.call("GET", "/").body == b"Healthy"
        assert other.call(body="x").json() == "x"

    def test_several_workers_share_the_work(self, start: Serve) -> None:
        served = start(scripts.PLAIN, "--worker_count", "2")
        wait_until_healthy(served)
        assert served.post_json({"do": "environment", "names": ["WORKER_COUNT"]}).json() == {
            "WORKER_COUNT": "2"
        }
        assert "Worker Count: 2" in served.log


class TestCors:
    ORIGIN = "http://one.example"

    def test_an_allowed_origin_is_named(self, configured: Served) -> None:
        reply = configured.call(body='{"do": "none"}', headers={"Origin": self.ORIGIN})
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") == self.ORIGIN

    def test_a_foreign_origin_is_answered_without_the_header(self, configured: Served) -> None:
        reply = configured.call(body='{"do": "none"}', headers={"Origin": "http://other"})
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") is None

    def test_the_preflight_names_the_methods(self, configured: Served) -> None:
        reply = configured.call(
            "OPTIONS",
            "/score",
            headers={
                "Origin": self.ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") == self.ORIGIN
        assert reply.header("access-control-allow-methods") == "GET, POST"
        assert reply.header("access-control-allow-headers") == "content-type"

    def test_every_origin_may_be_allowed(self, server: Serve) -> None:
        served = server("ECHO", "--access_control_allow_origins", "*")
        reply = served.call(body="x", headers={"Origin": "http://any"})
        assert reply.header("access-control-allow-origin") == "http://any"
        assert served.call(body="x").header("access-control-allow-origin") == "*"

    def test_one_of_several_origins_is_named(self, server: Serve) -> None:
        served = server("ECHO", "--access_control_allow_origins", "http://a, http://b")
        reply = served.call("GET", "/score", headers={"Origin": "http://b"})
        assert reply.header("access-control-allow-origin") == "http://b"
        assert "Origin" in (reply.header("vary") or "")


class TestSwagger:
    @pytest.mark.parametrize(("asked", "found"), VERSIONS.items())
    def test_comes_in_several_versions(self, server: Serve, asked: str, found: str) -> None:
        reply = server("ECHO").call("GET", f"/swagger.json?version={asked}")
        document = reply.json()
        assert reply.status == 200
        assert reply.header("content-type") == "application/json"
        assert reply.header("x-ms-run-function-failed") == "False"
        assert document.get("swagger", document.get("openapi")) == found
        assert set(document["paths"]) == {"/", "/score", "/swagger.json"}

    def test_is_version_2_unless_asked(self, server: Serve) -> None:
        assert server("ECHO").call("GET", "/swagger.json").json()["swagger"] == "2.0"

    @pytest.mark.parametrize("asked", ["9", "", "2.1", "three"])
    def test_has_no_other_version(self, server: Serve, asked: str) -> None:
        reply = server("ECHO").call("GET", f"/swagger.json?version={asked}")
        expected = f"Swagger version [{asked}] is not valid. Supported versions: [2, 3, 3.1]."
        assert (reply.status, reply.message) == (404, expected)

    def test_of_an_undecorated_run_is_an_empty_object(self, server: Serve) -> None:
        document = server("ECHO").call("GET", "/swagger.json").json()
        assert document["definitions"]["ServiceInput"] == {"type": "object", "example": {}}
        assert document["definitions"]["ServiceOutput"] == {"type": "object", "example": {}}
        assert document["info"]["title"] == "ML service"
        assert document["info"]["version"] == "1.0"

    @pytest.mark.parametrize(
        ("version", "places"), [("2", ["definitions"]), ("3", ["components", "schemas"])]
    )
    def test_tells_the_decorators_schemas(
        self, server: Serve, version: str, places: list[str]
    ) -> None:
        schemas = server("SCHEMA").call("GET", f"/swagger.json?version={version}").json()
        for place in places:
            schemas = schemas[place]
        found = schemas["ServiceInput"]
        assert found["example"]["a"] == 1
        assert found["example"]["plain"] == ""
        assert found["properties"]["a"]["type"] == "integer"
        assert found["properties"]["plain"] == {}
        assert schemas["ServiceOutput"]["example"] == {"sum": 1.5}

    def test_operations_have_their_names(self, server: Serve) -> None:
        paths = server("ECHO").call("GET", "/swagger.json?version=3.1").json()["paths"]
        assert paths["/"]["get"]["operationId"] == "ServiceHealthCheck"
        assert paths["/score"]["post"]["operationId"] == "RunMLService"
        assert paths["/swagger.json"]["get"]["operationId"] == "GetSwaggerSpec"

    @pytest.mark.parametrize(
        ("file", "version"),
        [("swagger.json", "2"), ("swagger2.json", "2"), ("swagger3.json", "3")],
    )
    def test_own_files_are_served(self, start: Serve, file: str, version: str) -> None:
        served = start(scripts.ECHO, files={file: '{"own": 1}'})
        wait_until_healthy(served)
        assert served.call("GET", f"/swagger.json?version={version}").json() == {"own": 1}


class TestStart:
    @pytest.mark.parametrize("name", scripts.BROKEN)
    def test_a_script_that_cannot_serve_ends_with_code_3(self, start: Serve, name: str) -> None:
        text, code = scripts.BROKEN[name]
        served = start(text)
        assert served.process.wait(20) == 3
        if not OTHER_SERVER:
            status = served.status
            assert (status["state"], status["code"]) == ("failed", code)
            assert 0 < len(status["message"]) < 300
            assert len(status["evidence"]) <= 12

    def test_a_missing_script_ends_with_code_3(self, start: Serve, tmp_path: Path) -> None:
        served = start(
            None, "--entry_script", "nowhere.py", files={"other.py": "", "model.pkl": ""}
        )
        assert served.process.wait(20) == 3
        if not OTHER_SERVER:
            assert "nowhere.py does not exist" in served.status["message"]
            assert "other.py" in served.status["message"]
            assert "model.pkl" not in served.status["message"]

    def test_no_script_ends_with_code_1(self, start: Serve) -> None:
        assert start(None).process.wait(20) == 1

    @pytest.mark.parametrize("flags", [("--port", "0"), ("--port", "x"), ("--worker_count", "0")])
    def test_flags_that_make_no_sense_end_with_code_1(
        self, start: Serve, flags: tuple[str, ...]
    ) -> None:
        assert start(scripts.ECHO, *flags).process.wait(20) == 1

    def test_a_setting_that_makes_no_sense_ends_with_code_3(self, start: Serve) -> None:
        served = start(scripts.ECHO, environment={"SCORING_TIMEOUT_MS": "soon"})
        assert served.process.wait(20) == 3
        assert "SCORING_TIMEOUT_MS" in served.log

    def test_the_model_folder_is_listed_when_init_fails(self, start: Serve) -> None:
        served = start(
            scripts.BROKEN["init-raises"][0],
            "--model_dir",
            "model",
            files={"model/1/weights.bin": "", "model/1/sub/more.bin": ""},
        )
        assert served.process.wait(20) == 3
        assert "Model Directory Contents:" in served.log
        assert "weights.bin" in served.log
        assert "more.bin" in served.log

    def test_a_configuration_of_the_log_is_used(self, start: Serve) -> None:
        config = {
            "version": 1,
            "formatters": {
                "own": {
                    "class": "azureml_inference_server_http.log_config.AMLLogFormatter",
                    "format": "OWN %(message)s",
                }
            },
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "own",
                }
            },
            "loggers": {"azmlinfsrv": {"level": "INFO", "handlers": ["out"], "propagate": False}},
        }
        served = start(scripts.PLAIN, files={"logging.json": json.dumps(config)})
        wait_until_healthy(served)
        assert "OWN init was here" in served.wait_for_log("init was here")


class TestLog:
    LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} I \[\d+\] "

    def test_print_becomes_a_line(self, plain: Served) -> None:
        plain.post_json({"do": "print"})
        log = plain.wait_for_log("one-two")
        assert re.search(self.LINE + r"azmlinfsrv\.print - one-two", log)
        until(lambda: "\nto stderr" in plain.log, 5, "what was printed to standard error")

    def test_print_in_init_too(self, plain: Served) -> None:
        log = plain.wait_for_log("init was here")
        assert re.search(self.LINE + r"azmlinfsrv\.user_script - Invoking user's init", log)
        assert re.search(self.LINE + r"azmlinfsrv\.print - init was here", log)

    def test_scripts_may_log(self, plain: Served) -> None:
        plain.post_json({"do": "log"})
        assert re.search(self.LINE + "azmlinfsrv - a line of the", plain.wait_for_log("a line of"))

    def test_each_request_is_logged(self, plain: Served) -> None:
        plain.call(target="/score?q=1", body=json.dumps({"do": "return", "value": "abc"}))
        log = plain.wait_for_log("POST /score?q=1 200 ")
        assert re.search(self.LINE + r"azmlinfsrv - POST /score\?q=1 200 \d+\.\d{3}ms 5", log)
        assert "azmlinfsrv - GET / " not in log
