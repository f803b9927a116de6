"""HTTP/1.1 as proxies and clients use it: kept connections, order, limits, slow senders."""

import json
import socket
from pathlib import Path

import pytest

from tests.inference_server import scripts
from tests.inference_server.serving import (
    OTHER_SERVER,
    Serve,
    Served,
    read_reply,
    until,
    wait_until_healthy,
)

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")
POST = b"POST /score HTTP/1.1\r\nHost: h\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return POST + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(scope="module")
def echo(server: Serve) -> Served:
    return server(
        "ECHO", "--max_body_bytes", "1000000", environment={"PORTICO_SLOW_REQUEST_SECONDS": "1"}
    )


@pytest.fixture(scope="module")
def plain(server: Serve) -> Served:
    return server("PLAIN")


@pytest.fixture(scope="module")
def raw(server: Serve) -> Served:
    return server("RAW")


def test_a_connection_is_kept(echo: Served) -> None:
    with echo.connect() as connection, connection.makefile("rb") as file:
        for number in range(5):
            connection.sendall(post(b"%d" % number))
            reply = read_reply(file)
            assert reply.json() == str(number)
            assert reply.header("connection") is None


def test_a_connection_is_closed_when_asked(echo: Served) -> None:
    answer = echo.raw(post(b"x", b"Connection: close"))
    assert b"connection: close" in answer
    assert answer.endswith(b'"x"')


def test_an_http_1_0_client_is_answered_and_closed(echo: Served) -> None:
    answer = echo.raw(b"POST /score HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
    assert answer.endswith(b'"x"')


def test_pipelined_requests_are_answered_in_order(echo: Served) -> None:
    with echo.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(b"".join(post(b"%d" % number) for number in range(100)))
        assert [read_reply(file).json() for _ in range(100)] == [str(n) for n in range(100)]


def test_a_quick_answer_does_not_overtake_a_slow_one(plain: Served) -> None:
    slow = json.dumps({"do": "sleep", "seconds": 0.3}).encode()
    with plain.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(post(slow) + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_reply(file).json() == "slept"
        assert read_reply(file).body == b"Healthy"


def test_a_request_may_come_in_pieces(echo: Served) -> None:
    data = post(b"abc", b"x-request-id: me")
    with echo.connect() as connection, connection.makefile("rb") as file:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(data)):
            connection.sendall(data[place : place + 1])
        reply = read_reply(file)
    assert (reply.json(), reply.header("x-request-id")) == ("abc", "me")


def test_a_chunked_body_is_read(echo: Served) -> None:
    answer = echo.raw(
        POST
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert answer.endswith(b'"abcde"')


def test_who_expects_to_be_told_to_continue_is_told(echo: Served) -> None:
    with echo.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert file.readline() == b"\r\n"
        connection.sendall(b"x")
        assert read_reply(file).json() == "x"


def test_who_expects_to_send_too_much_is_refused_at_once(echo: Served) -> None:
    answer = echo.raw(POST + b"Expect: 100-continue\r\nContent-Length: 1000001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_over_the_limit_is_refused(echo: Served) -> None:
    assert echo.call(body=b"x" * 1_000_001).status == 413
    assert echo.call(body=b"x" * 1_000_000).status == 200


def test_a_chunked_body_over_the_limit_is_refused(echo: Served) -> None:
    chunks = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    answer = echo.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks * 16)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 300_000, 431),
        (b"no http at all\r\n\r\n", 400),
        (POST + b"Content-Length: x\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
def test_what_is_too_large_or_no_http_is_refused(echo: Served, data: bytes, status: int) -> None:
    answer = echo.raw(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer


def test_a_refusal_waits_for_its_turn(echo: Served) -> None:
    answer = echo.raw(post(b"first") + b"no http\r\n\r\n")
    assert answer.index(b'"first"') < answer.index(b"HTTP/1.1 400")


@pytest.mark.parametrize("data", [b"POST /sc", POST + b"Content-Length: 10\r\n\r\nabc"])
def test_a_slow_sender_is_ended(echo: Served, data: bytes) -> None:
    assert echo.raw(data).startswith(b"HTTP/1.1 408 ")


def test_slow_senders_do_not_keep_others_waiting(echo: Served) -> None:
    slow = [echo.connect() for _ in range(8)]
    for connection in slow:
        connection.sendall(POST)
    assert echo.call(body="x", timeout=1).status == 200
    for connection in slow:
        connection.close()


def test_an_offer_to_upgrade_is_ignored(echo: Served) -> None:
    answer = echo.raw(post(b"x", b"Connection: Upgrade", b"Upgrade: h2c"))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [32_000, 33_000, 100_000, 16_000_000])
def test_bodies_of_any_size_arrive_whole(server: Serve, size: int) -> None:
    body = "abcdefgh" * (size // 8)
    assert server("ECHO").call(body=body).json() == body


def test_streams_are_chunked(raw: Served) -> None:
    with raw.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(b"GET /score?do=stream HTTP/1.1\r\nHost: h\r\n\r\n")
        reply = read_reply(file)
        assert reply.header("transfer-encoding") == "chunked"
        assert reply.header("x-ms-run-fn-exec-ms")
        assert file.read(len(b"7\r\npart 0\n\r\n")) == b"7\r\npart 0\n\r\n"
        file.read(2 * len(b"7\r\npart 0\n\r\n"))
        assert file.read(5) == b"0\r\n\r\n"
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_reply(file).status == 200


def test_a_stream_that_breaks_off_does_not_end_properly(raw: Served) -> None:
    answer = raw.raw(b"GET /score?do=broken HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert raw.call("GET", "/score").status == 200


def test_a_stream_ends_when_nobody_reads_it(start: Serve, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    served = start(scripts.RAW, environment={"ENDED": str(ended)})
    wait_until_healthy(served)
    with served.connect() as connection:
        connection.sendall(b"GET /score?do=endless HTTP/1.1\r\nHost: h\r\n\r\n")
        connection.recv(1_000_000)
    until(ended.exists, 10, "end of the generator")
    assert served.call("GET", "/score").status == 200


def test_the_end_of_a_stream_that_nobody_reads_is_not_that_of_the_next(
    start: Serve, tmp_path: Path
) -> None:
    served = start(scripts.RAW, environment={"ENDED": str(tmp_path / "ended")})
    wait_until_healthy(served)
    for _ in range(20):
        with served.connect() as connection:
            connection.sendall(b"GET /score?do=endless HTTP/1.1\r\nHost: h\r\n\r\n")
            connection.recv(1_000_000)
        reply = served.call("GET", "/score?do=stream")
        assert (reply.status, reply.body) == (200, b"part 0\npart 1\npart 2\n")
