"""Trust made at first start: renewed in time, closed to others, and accepted by OpenSSL."""

import ssl
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509

from portal import certificates
from portal.certificates import ServerCertificate, authority_path, ensure_server_certificate


def names_of(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def handshake(made: ServerCertificate, name: str) -> None:
    """A TLS handshake in memory; raises what a strict client would."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made.certificate, made.key)
    client_context = ssl.create_default_context(cafile=made.authority)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "portal.test", "a.models.test"])
def test_a_client_that_trusts_the_authority_accepts_each_name(tmp_path: Path, name: str) -> None:
    made = ensure_server_certificate(tmp_path / "tls", ["portal.test", "*.models.test"])
    handshake(made, name)


def test_a_client_accepts_no_other_name(tmp_path: Path) -> None:
    made = ensure_server_certificate(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(made, "elsewhere.test")


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    made = ensure_server_certificate(tmp_path, ["portal.test"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert ensure_server_certificate(tmp_path, ["portal.test"]) == made
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert made.authority == authority_path(tmp_path)


def test_a_new_name_renews_the_certificate_and_keeps_the_authority(tmp_path: Path) -> None:
    made = ensure_server_certificate(tmp_path)
    authority = made.authority.read_bytes()
    ensure_server_certificate(tmp_path, ["added.test"])
    assert "added.test" in names_of(made.certificate)
    assert made.authority.read_bytes() == authority
    handshake(made, "added.test")


def test_a_certificate_is_renewed_30_days_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensure_server_certificate(tmp_path)
    before = made.certificate.read_bytes()

    class Later(datetime):
        days = 0

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz or UTC) + timedelta(days=cls.days)

    monkeypatch.setattr(certificates, "datetime", Later)
    Later.days = 397 - 31
    ensure_server_certificate(tmp_path)
    assert made.certificate.read_bytes() == before
    Later.days = 397 - 29
    ensure_server_certificate(tmp_path)
    assert made.certificate.read_bytes() != before


def test_a_renewal_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    made = ensure_server_certificate(tmp_path)
    other = ensure_server_certificate(tmp_path / "other")
    made.key.write_bytes(other.key.read_bytes())
    handshake(ensure_server_certificate(tmp_path), "localhost")


def test_a_new_authority_signs_a_new_certificate(tmp_path: Path) -> None:
    made = ensure_server_certificate(tmp_path)
    made.authority.unlink()
    handshake(ensure_server_certificate(tmp_path), "localhost")


def test_only_the_authoritys_certificate_is_readable_by_others(tmp_path: Path) -> None:
    ensure_server_certificate(tmp_path)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert modes == {
        "ca.pem": "0o644",
        "ca.key": "0o600",
        "server.pem": "0o600",
        "server.key": "0o600",
    }
