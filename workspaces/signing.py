"""The key that signs tokens, for endpoints and for the API, and its public half for whoever checks them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from workspaces.keyfile import read_or_make


@dataclass(frozen=True)
class SigningKey:
    """The private key for tokens (ES256), and its id, which goes into the header of each token."""

    id: str
    private_pem: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r})"

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        public = serialization.load_pem_private_key(self.private_pem, None).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return public

    @property
    def jwks(self) -> str:
        """The public half as a JSON Web Key Set, for whoever checks tokens."""
        key = {
            **ECAlgorithm.to_jwk(self.public_key, as_dict=True),
            "kid": self.id,
            "alg": "ES256",
            "use": "sig",
        }
        return json.dumps({"keys": [key]}, sort_keys=True)


def ensure_signing_key(folder: Path) -> SigningKey:
    """The key that signs tokens, made at the first call. Deleting the file ends all tokens."""
    pem = read_or_make(folder / "tokens.key", make=_make_pem).encode()
    public = serialization.load_pem_private_key(pem, None).public_key()
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(hashlib.sha256(der).hexdigest()[:16], pem)


def _make_pem() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )
