"""Whom to believe that it is the portal: the system's authorities, or the portal's own, pinned by its fingerprint."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.faults import ClientFault, UsageFault

SECONDS = 10
MOST_BYTES = 1_000_000
AUTHORITY_ADDRESS = "/ca.pem"


@dataclass(frozen=True)
class Address:
    """Of a portal."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """Host and port of `https://host[:port]`; `UsageFault` for anything else."""
        parts = urlsplit(url if "://" in url else f"https://{url}")
        try:
            port = parts.port or 443
        except ValueError:
            port = 0
        if parts.scheme != "https":
            raise UsageFault(
                f"'{url}' is not an https address. Access tokens travel over TLS only: use the address that "
                "'portico up' prints with https, such as https://localhost:8443."
            )
        if not parts.hostname or not port or parts.path.strip("/") or parts.query:
            raise UsageFault(f"'{url}' must be https://<host>:<port>, with nothing behind it.")
        return cls(parts.hostname, port)

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.name}"


def system_trusts(address: Address) -> bool:
    """Whether the system's authorities (and SSL_CERT_FILE) vouch for the certificate it shows."""
    return _is_vouched_for(address, ssl.create_default_context())


def fetch_authority(address: Address) -> str:
    """The authority that the portal hands out, as PEM, checked to have signed the certificate it shows.

    Nothing vouches for it but its fingerprint, which the user must compare.
    """
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    status, body = request(address, AUTHORITY_ADDRESS, blind)
    pem = body.decode("ascii", "replace")
    if status != 200 or "BEGIN CERTIFICATE" not in pem:
        raise ClientFault(
            f"{address.url} shows a certificate that this system does not trust, and hands out no authority "
            "of its own. Get the authority's certificate from whoever runs the portal, and name it with --ca-file."
        )
    check_authority(address, pem)
    return pem


def check_authority(address: Address, pem: str) -> None:
    """`ClientFault` unless this authority, and no other, vouches for the portal's certificate and name."""
    try:
        context = authority_context(pem)
    except ssl.SSLError as error:
        raise ClientFault(f"The authority's certificate is not usable: {error.reason}.") from error
    if not _is_vouched_for(address, context):
        raise ClientFault(
            f"The certificate that {address.url} shows is not signed by that authority, or is not made for the "
            f"name '{address.host}'. PORTICO_ALLOWED_HOSTS on the server adds names."
        )


def authority_context(pem: str) -> ssl.SSLContext:
    """Trusts this authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    return context


def fingerprint(pem: str) -> str:
    """SHA-256 as `openssl x509 -fingerprint -sha256` writes it: `AB:CD:…`."""
    start = pem.index("-----BEGIN CERTIFICATE-----")
    end = pem.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start:end])).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def is_same_fingerprint(one: str, other: str) -> bool:
    """Without regard to case, colons, blanks and a `sha256:` in front."""
    return _bare(one) == _bare(other) != ""


def context_for(ca_path: Path | None) -> ssl.SSLContext:
    if ca_path is None:
        return ssl.create_default_context()
    return authority_context(ca_path.read_text())


def get_json(address: Address, path: str, context: ssl.SSLContext, token: str) -> Any:
    """The answer to a GET with the token; `ClientFault` says what went wrong."""
    status, body = request(address, path, context, {"Authorization": f"Bearer {token}"})
    try:
        told = json.loads(body)
    except ValueError:
        raise ClientFault(
            f"{address.url} does not answer like a portal (status {status}). Is the port the one of the studio?"
        ) from None
    if status == 401:
        raise ClientFault(f"{address.url} does not take the token: {told['error']['message']}")
    if status != 200:
        raise ClientFault(f"{address.url} answered {status}: {told['error']['message']}")
    return told


def request(
    address: Address,
    path: str,
    context: ssl.SSLContext,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of a GET; `ClientFault` when there is no answer."""
    link = http.client.HTTPSConnection(
        address.host, address.port, context=context, timeout=SECONDS
    )
    try:
        link.request("GET", path, headers=headers or {})
        answer = link.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise ClientFault(_unreachable(address, error)) from error
    finally:
        link.close()


def _is_vouched_for(address: Address, context: ssl.SSLContext) -> bool:
    try:
        with (
            socket.create_connection((address.host, address.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address.host),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False
    except OSError as error:
        raise ClientFault(_unreachable(address, error)) from error


def _unreachable(address: Address, error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return f"{address.url} does not speak TLS. The studio's TLS port is 8443 unless it was changed."
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        f"{address.url} cannot be reached: {said}. Is the portal running, and is this its address?"
    )


def _bare(text: str) -> str:
    return text.lower().strip().removeprefix("sha256:").replace(":", "").replace(" ", "")
