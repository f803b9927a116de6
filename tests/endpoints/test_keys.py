from __future__ import annotations

from pathlib import Path

import jwt
import pytest
from pytest_django import Settings

from endpoints import keys
from tests.factories import make_online_endpoint, make_user
from workspaces.errors import UserError
from workspaces.models import Activity

pytestmark = pytest.mark.django_db


def test_regenerating_one_key_leaves_the_other() -> None:
    endpoint = make_online_endpoint()
    before = keys.keys_of(endpoint)
    after = keys.regenerate_key(endpoint, "Primary", by=make_user("alice"))
    assert after.primary != before.primary
    assert after.secondary == before.secondary
    endpoint.refresh_from_db()
    assert keys.keys_of(endpoint) == after
    assert endpoint.published_version == 2


def test_looking_at_keys_is_recorded_without_the_keys() -> None:
    endpoint = make_online_endpoint()
    shown = keys.list_keys(endpoint, by=make_user("alice"))
    row = Activity.objects.get(verb="list keys")
    assert shown.primary not in f"{row.before}{row.after}{row.note}{row.subject}"


@pytest.mark.parametrize("value", ["short", "with blank in the middle", "ümlaut-key-is-not-ascii"])
def test_a_chosen_key_must_be_usable(value: str) -> None:
    with pytest.raises(UserError, match="at least 16 visible"):
        keys.regenerate_key(make_online_endpoint(), "primary", by=None, value=value)


def test_both_keys_must_differ() -> None:
    endpoint = make_online_endpoint()
    with pytest.raises(UserError, match="must differ"):
        keys.regenerate_key(endpoint, "primary", by=None, value=keys.keys_of(endpoint).secondary)


def test_an_unknown_kind_of_key_is_refused() -> None:
    with pytest.raises(UserError, match="'third' is not known"):
        keys.regenerate_key(make_online_endpoint(), "third", by=None)


def test_an_endpoint_with_tokens_has_no_keys() -> None:
    endpoint = make_online_endpoint(auth_mode="aml_token")
    with pytest.raises(UserError, match="does not use keys for authentication"):
        keys.list_keys(endpoint, by=None)


def test_a_token_names_its_endpoint_and_lasts_an_hour(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_DIR = tmp_path
    endpoint = make_online_endpoint(auth_mode="aml_token")
    token = keys.issue_token(endpoint, by=make_user("alice"))
    claims = jwt.decode(token.access_token, options={"verify_signature": False})
    assert claims["endpoint"] == endpoint.name.lower()
    assert claims["exp"] - claims["iat"] == 3600
