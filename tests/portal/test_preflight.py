"""Faults before the first process starts, without starting one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal import env, preflight
from portal.faults import StartFault
from tests.house import free_ports


def test_a_port_named_twice_is_refused() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StartFault, match=f"A and B are both {port}"):
        preflight.check_ports({"A": port, "B": port}, "127.0.0.1")


def test_a_busy_port_of_our_own_gateway_is_no_fault() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        preflight.check_ports({"A": port}, "127.0.0.1", gateway_pid=os.getpid())
        with pytest.raises(StartFault, match=f"Port {port} is in use by process {os.getpid()} "):
            preflight.check_ports({"A": port}, "127.0.0.1", gateway_pid=1)


def test_an_address_of_another_machine_is_refused() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StartFault, match="Check PORTICO_BIND and PORTICO_TLS_PORT"):
        preflight.check_ports({"PORTICO_TLS_PORT": port}, "192.0.2.1")


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartFault, match="Free some space"):
        preflight.check_disk(tmp_path, smallest_bytes=2**62)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/name", "must begin with postgresql://"),
        ("postgresql://user:p@ss/word@host:x/name", "cannot be understood"),
        ("postgresql://user@host:99999/name", "cannot be understood"),
    ],
)
def test_a_wrong_database_url_is_a_sentence(url: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        env.database(url, pool_size=2)


def test_a_database_url_may_hold_quoted_characters_and_a_socket_folder() -> None:
    found = env.database(
        "postgresql://us%40er:p%2Fw@/da%20ta?host=/run/pg&sslmode=require", pool_size=2
    )
    assert (found["USER"], found["PASSWORD"], found["NAME"]) == ("us@er", "p/w", "da ta")
    assert found["HOST"] == "/run/pg"
    assert found["OPTIONS"]["sslmode"] == "require"


def test_an_unreachable_redis_names_the_variable_and_no_password() -> None:
    with pytest.raises(StartFault, match="Check REDIS_URL") as fault:
        preflight.check_redis("redis://:topsecret@127.0.0.1:1/0")
    assert "topsecret" not in str(fault.value)
