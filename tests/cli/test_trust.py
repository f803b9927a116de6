"""Addresses and fingerprints."""

from __future__ import annotations

import pytest

from cli import trust
from cli.faults import UsageFault
from cli.trust import Address


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://localhost:8443", "https://localhost:8443"),
        ("https://localhost:8443/", "https://localhost:8443"),
        ("portal.example.com", "https://portal.example.com:443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_an_address_is_host_and_port(given: str, url: str) -> None:
    assert Address.parse(given).url == url


@pytest.mark.parametrize(
    "given",
    ["http://localhost:8000", "https://host/path", "https://host:99999", "https://", "ftp://host"],
)
def test_other_addresses_are_refused(given: str) -> None:
    with pytest.raises(UsageFault, match="https"):
        Address.parse(given)


@pytest.mark.parametrize("other", ["ab:cd", "ABCD", "sha256:AB:CD", " AB CD "])
def test_fingerprints_are_compared_as_people_write_them(other: str) -> None:
    assert trust.is_same_fingerprint("AB:CD", other)


@pytest.mark.parametrize("other", ["", "AB", "AB:CE"])
def test_another_fingerprint_is_another(other: str) -> None:
    assert not trust.is_same_fingerprint("AB:CD", other)


def test_nothing_equals_nothing_is_no_proof() -> None:
    assert not trust.is_same_fingerprint("", "")
