"""What every client and script may rely on. Runs against any server: see serving.OTHER_SERVER."""

import json
import re
import uuid
from typing import Any

import pytest

from tests.inference_server.serving import Serve, Served

SCRIPT_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
NOT_FOUND = (
    "The requested URL was not found on the server. If you entered the URL manually please check "
    "your spelling and try again."
)
NOT_ALLOWED = "The method is not allowed for the requested URL."
ID_HEADERS = ("x-request-id", "x-ms-request-id", "x-ms-client-request-id", "x-ms-server-version")
LONG = "i" * 101


@pytest.fixture(scope="module")
def plain(server: Serve) -> Served:
    return server("PLAIN")


@pytest.fixture(scope="module")
def echo(server: Serve) -> Served:
    return server("ECHO")


@pytest.fixture(scope="module")
def raw(server: Serve) -> Served:
    return server("RAW")


@pytest.fixture(scope="module")
def schema(server: Serve) -> Served:
    return server("SCHEMA")


class TestRoutes:
    def test_health_says_healthy(self, echo: Served) -> None:
        reply = echo.call("GET", "/")
        assert (reply.status, reply.body) == (200, b"Healthy")
        assert reply.header("content-type") == "text/html; charset=utf-8"
        assert reply.header("x-ms-run-function-failed") is None
        assert reply.header("x-request-id")

    def test_head_of_health_has_no_body(self, echo: Served) -> None:
        reply = echo.call("HEAD", "/")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("content-length") == "7"

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_health_takes_no_other_method(self, echo: Served, method: str) -> None:
        reply = echo.call(method, "/")
        assert (reply.status, reply.message) == (405, NOT_ALLOWED)

    def test_health_keeps_the_ids(self, echo: Served) -> None:
        assert echo.call("GET", "/", headers={"x-request-id": "a"}).header("x-request-id") == "a"

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_score_takes_no_other_method(self, echo: Served, method: str) -> None:
        reply = echo.call(method, "/score", body="x")
        assert (reply.status, reply.message) == (405, NOT_ALLOWED)
        assert reply.header("x-ms-run-function-failed") == "False"
        assert not any(reply.header(name) for name in ID_HEADERS)

    def test_head_of_score_is_not_allowed(self, echo: Served) -> None:
        assert echo.call("HEAD", "/score").status == 405

    def test_options_of_score_is_empty(self, echo: Served) -> None:
        reply = echo.call("OPTIONS", "/score")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("content-type") == "text/html; charset=utf-8"
        assert reply.header("x-ms-run-function-failed") == "False"
        assert reply.header("x-request-id")

    @pytest.mark.parametrize(
        "target", ["/nothing", "/score/", "/Score", "/score/x", "/swagger.json/", "/favicon.ico"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_other_paths_are_not_found(self, echo: Served, method: str, target: str) -> None:
        reply = echo.call(method, target, headers={"x-request-id": "mine"})
        assert (reply.status, reply.message) == (404, NOT_FOUND)
        assert reply.header("content-type") == "application/json"
        assert reply.header("x-ms-run-function-failed") == "False"
        assert not any(reply.header(name) for name in ID_HEADERS)

    def test_an_escaped_path_is_the_same_path(self, echo: Served) -> None:
        assert echo.call("POST", "/%73core", body="a").json() == "a"

    def test_post_of_swagger_is_not_allowed(self, echo: Served) -> None:
        assert echo.call("POST", "/swagger.json").status == 405


class TestPlainRun:
    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/plain", "application/octet-stream", "x", None]
    )
    @pytest.mark.parametrize("body", ['{"a": 1}', "", "no json", "é€", " spaces \n"])
    def test_gets_the_body_as_text(
        self, echo: Served, body: Any, content_type: str | None
    ) -> None:
        headers = {"Content-Type": content_type} if content_type else {}
        reply = echo.call(body=body, headers=headers)
        assert (reply.status, reply.json()) == (200, body)

    @pytest.mark.parametrize(
        "content_type",
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
    )
    def test_gets_nothing_of_a_form(self, echo: Served, content_type: str) -> None:
        body = "--x\r\n\r\n--x--\r\n" if "multipart" in content_type else '{"a": 1}'
        assert echo.call(body=body, headers={"Content-Type": content_type}).json() == ""

    def test_refuses_what_is_not_utf8(self, echo: Served) -> None:
        reply = echo.call(body=b"\xff\xfe", headers={"Content-Type": "application/json"})
        assert reply.status == 400
        assert reply.message.startswith("Input cannot be decoded as UTF-8: 'utf-8' codec")
        assert reply.header("x-ms-run-function-failed") == "False"
        assert reply.header("x-ms-run-fn-exec-ms") is None

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", {}),
            ("a=1", {"a": 1}),
            ("a=1&b=[1,2]&c=a&d=null", {"a": 1, "b": [1, 2], "c": "a", "d": None}),
            ("foo=bar1&foo=2&x=y", {"foo": ["bar1", 2], "x": "y"}),
            ("a=", {"a": ""}),
            ("a=%7B%22b%22%3A1%7D", {"a": {"b": 1}}),
            ("a=b+c&d=%C3%A9", {"a": "b c", "d": "é"}),
            ("A=1&a=2", {"A": 1, "a": 2}),
        ],
    )
    def test_gets_the_query_of_a_get_as_json_text(
        self, echo: Served, query: str, expected: Any
    ) -> None:
        reply = echo.call("GET", f"/score?{query}")
        text = reply.json()
        assert isinstance(text, str)
        assert json.loads(text) == expected

    def test_a_query_of_a_post_is_ignored(self, echo: Served) -> None:
        assert echo.call(target="/score?a=1", body="b").json() == "b"

    def test_runs_in_the_main_thread(self, plain: Served) -> None:
        assert plain.post_json({"do": "thread"}).json() is True

    def test_only_the_first_argument_is_filled(self, server: Serve) -> None:
        assert server("HEADERS").post_json(1).json()["spare"] == "unfilled"

    def test_headers_come_as_a_dictionary(self, server: Serve) -> None:
        found = server("HEADERS").call(
            body="x", headers={"x-own-header": "1", "Content-Type": "text/plain", "x_under": "2"}
        )
        headers = found.json()["headers"]
        assert found.json()["type"] == "dict"
        assert headers["X-Own-Header"] == "1"
        assert headers["Content-Type"] == "text/plain"
        assert headers["Content-Length"] == "1"
        assert "Host" in headers
        assert not any("under" in name.lower() for name in headers)

    def test_repeated_headers_are_joined(self, server: Serve) -> None:
        served = server("HEADERS")
        answer = served.raw(
            b"POST /score HTTP/1.1\r\nHost: h\r\nConnection: close\r\nA: 1\r\na: 2\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["A"] == "1,2"


class TestAnswers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ([1, 2], "[1, 2]"),
            ({"a": [1.5, None, True]}, '{"a": [1.5, null, true]}'),
            ("é", '"\\u00e9"'),
            (3, "3"),
            (False, "false"),
            ("", '""'),
            (None, "{}"),
            ([], "[]"),
        ],
    )
    def test_values_come_in_the_standard_spelling(
        self, plain: Served, value: Any, text: str
    ) -> None:
        reply = plain.post_json({"do": "return", "value": value})
        assert (reply.status, reply.body.decode()) == (200, text)
        assert reply.header("content-type") == "application/json"
        assert reply.header("x-ms-run-function-failed") == "False"
        assert re.fullmatch(r"\d+\.\d{3}", reply.header("x-ms-run-fn-exec-ms") or "")

    def test_none_is_an_empty_object(self, plain: Served) -> None:
        assert plain.post_json({"do": "none"}).body == b"{}"

    def test_not_a_number_is_spelled_nan(self, plain: Served) -> None:
        assert plain.post_json({"do": "nan"}).body == b"NaN"

    @pytest.mark.parametrize("do", ["set", "bytes", "object"])
    def test_what_is_no_json_is_an_internal_error(self, plain: Served, do: str) -> None:
        reply = plain.post_json({"do": do})
        assert (reply.status, reply.message) == (500, INTERNAL)
        assert reply.header("x-ms-run-function-failed") == "False"
        assert reply.header("x-ms-run-fn-exec-ms") is None
        assert reply.header("x-request-id")

    @pytest.mark.parametrize("body", [{"do": "raise"}, {}, [], 5])
    def test_an_exception_is_a_failure_of_the_script(self, plain: Served, body: Any) -> None:
        reply = plain.post_json(body)
        assert (reply.status, reply.message) == (500, SCRIPT_FAILED)
        assert reply.header("x-ms-run-function-failed") == "True"
        assert reply.header("x-ms-run-fn-exec-ms") is None
        assert b"secret" not in reply.body

    def test_the_traceback_goes_to_the_log(self, plain: Served) -> None:
        plain.post_json({"do": "raise"})
        log = plain.wait_for_log("a secret reason")
        assert "Encountered Exception" in log

    def test_a_script_serves_on_after_an_exception(self, plain: Served) -> None:
        first = plain.post_json({"do": "pid"}).json()
        plain.post_json({"do": "raise"})
        assert plain.post_json({"do": "pid"}).json() == first

    def test_a_response_without_raw_is_used_as_it_is(self, server: Serve) -> None:
        reply = server("RESPONSE").call(body="abc", headers={"Content-Type": "text/plain"})
        assert (reply.status, reply.body) == (203, b"ABC")
        assert reply.header("x-own") == "yes"
        assert reply.header("x-ms-run-fn-exec-ms")


class TestIds:
    def test_made_up_if_none_is_sent(self, echo: Served) -> None:
        first, second = echo.call(body="x"), echo.call(body="x")
        made = first.header("x-request-id")
        assert uuid.UUID(made).version == 4
        assert first.header("x-ms-request-id") == made
        assert first.header("x-ms-client-request-id") is None
        assert made != second.header("x-request-id")

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ({"x-request-id": "A"}, ("A", "A", None)),
            ({"x-ms-request-id": "B"}, (None, "B", "B")),
            ({"x-ms-client-request-id": "C"}, (None, "C", "C")),
            ({"x-ms-request-id": "B", "x-ms-client-request-id": "C"}, (None, "B", "C")),
            ({"x-request-id": "A", "x-ms-request-id": "B"}, ("A", "B", "B")),
            ({"x-request-id": "A", "x-ms-client-request-id": "C"}, ("A", "C", "C")),
            ({"x-request-id": "i" * 100}, ("i" * 100, "i" * 100, None)),
            ({"X-Request-ID": "odd chars: ;,="}, ("odd chars: ;,=", "odd chars: ;,=", None)),
        ],
    )
    @pytest.mark.parametrize("target", ["/score", "/", "/swagger.json"])
    def test_echoed_and_copied(
        self, echo: Served, target: str, sent: dict[str, str], expected: Any
    ) -> None:
        method = "POST" if target == "/score" else "GET"
        reply = echo.call(method, target, headers=sent)
        own, legacy, client = expected
        if own is None:
            assert uuid.UUID(reply.header("x-request-id"))
        else:
            assert reply.header("x-request-id") == own
        assert reply.header("x-ms-request-id") == legacy
        assert reply.header("x-ms-client-request-id") == client

    def test_a_long_request_id_is_refused(self, echo: Served) -> None:
        reply = echo.call(body="x", headers={"x-request-id": LONG})
        assert reply.status == 431
        assert reply.message == "x-request-id must not exceed 100 characters"
        assert reply.header("x-ms-run-function-failed") == "False"
        assert reply.header("x-request-id") is None

    @pytest.mark.parametrize("name", ["x-ms-request-id", "x-ms-client-request-id"])
    def test_a_long_client_id_is_refused(self, echo: Served, name: str) -> None:
        reply = echo.call(body="x", headers={name: LONG, "x-request-id": "A"})
        expected = "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"
        assert (reply.status, reply.message) == (431, expected)
        assert reply.header("x-request-id") == "A"
        assert reply.header(name) is None

    def test_a_long_id_is_refused_by_health_too(self, echo: Served) -> None:
        assert echo.call("GET", "/", headers={"x-request-id": LONG}).status == 431

    def test_the_trace_id_is_echoed(self, echo: Served) -> None:
        assert echo.call(body="x", headers={"TraceId": "t"}).header("TraceId") == "t"
        assert echo.call(body="x").header("TraceId") is None

    def test_the_version_is_told(self, echo: Served) -> None:
        version = echo.call(body="x").header("x-ms-server-version") or ""
        assert re.fullmatch(r"azmlinfsrv/\d+\.\d+\.\d+", version)

    def test_failures_carry_the_ids(self, plain: Served) -> None:
        reply = plain.post_json({"do": "raise"}, x_request_id="A")
        assert reply.header("x-request-id") == "A"
        assert reply.header("x-ms-server-version")


class TestSchema:
    def test_arguments_come_by_name(self, schema: Served) -> None:
        reply = schema.post_json({"a": 2, "b": "x", "unknown": 1})
        assert reply.json() == {"a": 2, "b": "x", "plain": 7, "has_headers": True}

    def test_defaults_are_used(self, schema: Served) -> None:
        assert schema.post_json({"a": 2}).json()["b"] == "given"

    def test_undecorated_arguments_are_filled_too(self, schema: Served) -> None:
        assert schema.post_json({"a": 2, "plain": 8}).json()["plain"] == 8

    def test_a_get_takes_the_query(self, schema: Served) -> None:
        assert schema.call("GET", "/score?a=3&b=y").json()["a"] == 3

    @pytest.mark.parametrize("target", ["/score", "/score?b=x"])
    def test_a_get_needs_the_values_too(self, schema: Served, target: str) -> None:
        reply = schema.call("GET", target)
        expected = "A value is not provided for the 'a' parameter."
        assert (reply.status, reply.message) == (400, expected)

    @pytest.mark.parametrize(
        ("content_type", "status"),
        [
            ("application/json", 200),
            ("application/json; charset=utf-8", 200),
            ("APPLICATION/JSON", 200),
            ("application/problem+json", 200),
            ("text/json", 415),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            (None, 415),
        ],
    )
    def test_the_content_type_must_be_json(
        self, schema: Served, content_type: str | None, status: int
    ) -> None:
        headers = {"Content-Type": content_type} if content_type else {}
        reply = schema.call(body='{"a": 1}', headers=headers)
        assert reply.status == status
        if status == 415:
            assert reply.message == "Expects Content-Type to be application/json"
            assert reply.header("x-ms-run-function-failed") == "False"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("", "POST body is empty. Expecting a JSON dictionary."),
            ("[1]", "POST body should be a JSON dictionary."),
            ('"a"', "POST body should be a JSON dictionary."),
            ("null", "POST body should be a JSON dictionary."),
            ("{}", "A value is not provided for the 'a' parameter."),
            (
                "{",
                "POST body could not be decoded as JSON: Expecting property name enclosed in "
                "double quotes: line 1 column 2 (char 1)",
            ),
        ],
    )
    def test_the_body_must_be_an_object_with_the_values(
        self, schema: Served, body: Any, message: str
    ) -> None:
        reply = schema.call(body=body, headers={"Content-Type": "application/json"})
        assert (reply.status, reply.message) == (400, message)
        assert reply.header("x-ms-run-function-failed") == "False"

    def test_options_is_empty(self, schema: Served) -> None:
        assert schema.call("OPTIONS", "/score").status == 200

    def test_numpy_arrays_are_made(self, server: Serve) -> None:
        assert server("NUMPY").post_json({"data": [[1, 2], [3, 4]]}).json() == [3.0, 7.0]

    @pytest.mark.parametrize("value", ["text", [["a", "b"]]])
    def test_a_value_of_another_type_is_the_scripts_failure(
        self, server: Serve, value: Any
    ) -> None:
        reply = server("NUMPY").post_json({"data": value})
        assert (reply.status, reply.message) == (500, SCRIPT_FAILED)

    def test_an_array_is_no_answer(self, server: Serve) -> None:
        reply = server("NUMPY").post_json({"data": []})
        assert reply.status == 500


class TestRaw:
    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    def test_gets_the_request_itself(self, raw: Served, method: str) -> None:
        reply = raw.call(
            method,
            "/score?do=request&k=1&k=2",
            body=None if method == "GET" else '{"v": 1}',
            headers={"Content-Type": "application/json", "X-Own": "o"},
        )
        found = reply.json()
        assert found["method"] == found["current"] == method
        assert found["path"] == "/score"
        assert found["args"] == {"do": ["request"], "k": ["1", "2"]}
        assert found["x-own"] == "o"
        assert found["type"] == "application/json"
        if method != "GET":
            assert found["json"] == {"v": 1}
            assert found["length"] == 8

    def test_gets_forms(self, raw: Served) -> None:
        reply = raw.call(
            target="/score?do=request",
            body="a=1&a=2",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert reply.json()["form"] == {"a": ["1", "2"]}

    def test_gets_files(self, raw: Served) -> None:
        body = (
            '--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\n'
            "content\r\n--x--\r\n"
        )
        reply = raw.call(
            target="/score?do=request",
            body=body,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert reply.json()["files"] == {"f": "content"}

    def test_gets_bytes_that_are_no_text(self, raw: Served) -> None:
        assert raw.call(target="/score?do=size", body=bytes(range(256))).json() == 256

    def test_gets_a_large_body(self, raw: Served) -> None:
        assert raw.call(target="/score?do=size", body=b"x" * 3_000_000).json() == 3_000_000

    def test_may_choose_status_headers_and_bytes(self, raw: Served) -> None:
        reply = raw.call(target="/score?do=response")
        assert (reply.status, reply.body) == (201, b"\x00\xff")
        assert reply.all("content-type") == ["image/png"]
        assert reply.all("x-many") == ["a", "b"]
        assert reply.header("x-ms-run-function-failed") == "False"
        assert reply.header("x-ms-run-fn-exec-ms")

    @pytest.mark.parametrize(
        ("status", "failed"), [(200, "False"), (404, "False"), (500, "True"), (503, "True")]
    )
    def test_a_status_of_500_and_up_counts_as_failed(
        self, raw: Served, status: int, failed: str
    ) -> None:
        reply = raw.call(target=f"/score?do=status&status={status}")
        assert reply.status == status
        assert reply.all("x-ms-run-function-failed") == [failed]

    def test_no_message_is_an_empty_object(self, raw: Served) -> None:
        reply = raw.call(target="/score?do=none")
        assert (reply.status, reply.body) == (202, b"{}")
        assert reply.header("content-type") == "application/json"

    def test_a_message_may_be_encoded(self, raw: Served) -> None:
        assert raw.call(target="/score?do=json").body == b'{"a": [1, 2]}'

    def test_may_say_that_it_failed(self, raw: Served) -> None:
        assert raw.call(target="/score?do=failed").header("x-ms-run-function-failed") == "True"

    def test_cannot_choose_the_request_id(self, raw: Served) -> None:
        reply = raw.call(target="/score?do=id", headers={"x-request-id": "theirs"})
        assert reply.all("x-request-id") == ["theirs"]

    def test_the_frameworks_functions_work(self, raw: Served) -> None:
        assert raw.call(target="/score?do=jsonify").json() == {"a": 1}

    def test_plain_values_are_encoded(self, raw: Served) -> None:
        assert raw.call("GET", "/score").json() == {"method": "GET"}

    def test_a_generator_is_streamed(self, raw: Served) -> None:
        reply = raw.call(target="/score?do=stream")
        assert reply.body == b"part 0\npart 1\npart 2\n"
        assert reply.header("content-length") is None
        assert reply.header("content-type") == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("do", ["raise", "abort"])
    def test_exceptions_of_the_framework_are_like_others(self, raw: Served, do: str) -> None:
        reply = raw.call(target=f"/score?do={do}")
        assert (reply.status, reply.message) == (500, SCRIPT_FAILED)
        assert reply.header("x-ms-run-function-failed") == "True"

    def test_the_older_names_work(self, server: Serve) -> None:
        reply = server("OLD_NAMES").call(body="x")
        assert (reply.status, reply.body) == (200, b"POST")


def test_a_driver_scripts_inner_run_is_called(server: Serve) -> None:
    assert server("DRIVER").post_json(1).json() == "from the outer init"
