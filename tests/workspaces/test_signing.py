"""The key that signs tokens: made once, never shown, checked with its public half alone."""

import json
from pathlib import Path

import jwt

from workspaces.signing import ensure_signing_key


def test_a_token_can_be_checked_with_the_public_keys_alone(tmp_path: Path) -> None:
    signing = ensure_signing_key(tmp_path)
    token = jwt.encode({"a": 1}, signing.private_pem, "ES256", headers={"kid": signing.id})
    [key] = jwt.PyJWKSet.from_json(signing.jwks).keys
    assert key.key_id == signing.id
    assert jwt.decode(token, key, ["ES256"]) == {"a": 1}
    assert "d" not in json.loads(signing.jwks)["keys"][0]


def test_the_signing_key_stays_the_same_and_does_not_show_in_the_repr(tmp_path: Path) -> None:
    signing = ensure_signing_key(tmp_path)
    assert ensure_signing_key(tmp_path).id == signing.id
    assert "PRIVATE" not in repr(signing)


def test_nobody_else_may_read_the_signing_key(tmp_path: Path) -> None:
    ensure_signing_key(tmp_path)
    assert [oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == ["0o600"]
