"""The installation's own certificate authority and server certificate.

Made at first start, so that TLS is on from the first request. Operators with a certificate of
their own point the settings at it and this module is not asked.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
# Some clients refuse longer ones.
SERVER_LIFETIME = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerCertificate:
    """Where the files are. `authority` is what clients are told to trust."""

    authority: Path
    certificate: Path
    key: Path


def authority_path(folder: Path) -> Path:
    """The authority's certificate: safe to hand out."""
    return folder / "ca.pem"


def fingerprint(path: Path) -> str:
    """SHA-256 of the certificate in that file, as `openssl x509 -fingerprint -sha256` writes it: `AB:CD:…`."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def ensure_server_certificate(folder: Path, names: Iterable[str] = ()) -> ServerCertificate:
    """The server certificate for this host, `names` and loopback, made or renewed if need be.

    It is renewed 30 days before it ends and when `names` has one that it lacks; the authority
    stays, so that clients need not be told again. `names` may be IP addresses or `*.domain`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = ServerCertificate(authority_path(folder), folder / "server.pem", folder / "server.key")
    wanted = dict.fromkeys([*LOOPBACK_NAMES, socket.gethostname().lower(), *names])
    authority, authority_key, is_new = _ensure_authority(folder)
    if is_new or not _is_good(files, wanted):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _server_certificate(authority, authority_key, key, wanted)
        # The key first: whoever sees the new certificate finds its key.
        _write_secret(files.key, _pem(key))
        _write_secret(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return files


def _ensure_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    path, key_path = authority_path(folder), folder / "ca.key"
    if path.exists() and key_path.exists():
        authority = x509.load_pem_x509_certificate(path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_path} is not an elliptic curve key. Move it and ca.pem away.")
        if not _ends_soon(authority):
            return authority, key, False
    key = ec.generate_private_key(ec.SECP256R1())
    # A part that differs per installation: two authorities of one name confuse trust stores.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Portico"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Portico local CA {os.urandom(4).hex()}"),
        ]
    )
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    authority = (
        _builder(name, name, key.public_key(), AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_secret(key_path, _pem(key))
    _write_secret(path, authority.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o644)
    return authority, key, True


def _server_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: Iterable[str],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Portico")])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(subject, authority.subject, key.public_key(), SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_id, critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks of clients differ.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(files: ServerCertificate, names: Iterable[str]) -> bool:
    if not files.certificate.exists() or not files.key.exists():
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    # They differ if a renewal was cut short between the two files.
    if certificate.public_key() != key.public_key():
        return False
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has_all = {_general_name(name) for name in names} <= set(found)
    return has_all and not _ends_soon(certificate)


def _ends_soon(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_secret(path: Path, data: bytes) -> None:
    """In one step, and readable for its owner only from the first moment."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
