"""Short-lived access tokens: what they say, and that they are worth no more than what they were given for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.utils import timezone
from pytest_django import Settings

from endpoints import keys
from tests.factories import Cast, make_cast, make_online_endpoint, make_user, make_workspace
from workspaces import access, access_tokens, members, principals, tokens
from workspaces.models import PersonalToken, PrincipalSecret, Role, TokenScope, User
from workspaces.signing import ensure_signing_key

pytestmark = pytest.mark.django_db

AUDIENCE = "https://management.azure.com"


@pytest.fixture(autouse=True)
def own_key(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_DIR = tmp_path


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def laptop(cast: Cast) -> PersonalToken:
    return tokens.create_token(cast.alice, "laptop")[0]


@pytest.fixture
def secret(cast: Cast) -> PrincipalSecret:
    made = principals.create_principal(cast.workspace, "ci", Role.DATA_SCIENTIST, by=cast.alice)
    return principals.add_secret(made, by=cast.alice)[0]


def claims_of(text: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    return claims


def signed(claims: dict[str, Any], folder: Path, **header: str) -> str:
    key = ensure_signing_key(folder)
    headers = {"kid": key.id, "typ": access_tokens.TYPE, **header}
    return jwt.encode(claims, key.private_pem, "ES256", headers=headers)


def test_it_says_for_whom_by_whom_and_until_when(
    cast: Cast, laptop: PersonalToken, secret: PrincipalSecret
) -> None:
    users, programs = (
        claims_of(access_tokens.issue(row, AUDIENCE).text) for row in (laptop, secret)
    )
    for claims in (users, programs):
        assert claims["aud"] == AUDIENCE
        assert claims["exp"] - claims["iat"] == 3600
        assert claims["oid"] == claims["sub"]
        assert "score" not in claims
    assert users["oid"] != programs["oid"]
    assert (users["idtyp"], programs["idtyp"]) == ("user", "app")
    assert programs["appid"] == str(secret.principal.client_id)
    assert "appid" not in users


def test_who_presents_it_is_its_user_with_the_limits_of_today(
    cast: Cast, laptop: PersonalToken
) -> None:
    text = access_tokens.issue(laptop, AUDIENCE).text
    found = access_tokens.present(text)
    assert found is not None and found.user == cast.alice and found.audience == AUDIENCE
    assert access.may(found.user, "onlineEndpoints/write", cast.workspace)
    PersonalToken.objects.update(scope=TokenScope.READ)
    narrowed = access_tokens.present(text)
    assert narrowed is not None
    assert not access.may(narrowed.user, "onlineEndpoints/write", cast.workspace)


def test_it_ends_with_what_it_was_given_for(
    cast: Cast, laptop: PersonalToken, secret: PrincipalSecret
) -> None:
    users, programs = (access_tokens.issue(row, AUDIENCE).text for row in (laptop, secret))
    assert access_tokens.present(users) and access_tokens.present(programs)
    tokens.revoke_token(cast.alice, laptop.pk)
    assert access_tokens.present(users) is None
    principals.remove_secret(secret.principal, secret.pk, by=cast.alice)
    assert access_tokens.present(programs) is None


def test_it_ends_with_its_principal_and_with_its_user(
    cast: Cast, laptop: PersonalToken, secret: PrincipalSecret
) -> None:
    users, programs = (access_tokens.issue(row, AUDIENCE).text for row in (laptop, secret))
    principals.delete_principal(secret.principal, by=cast.alice)
    assert access_tokens.present(programs) is None
    User.objects.filter(pk=cast.alice.pk).update(is_active=False)
    assert access_tokens.present(users) is None


def test_it_does_not_outlive_what_it_was_given_for(cast: Cast, laptop: PersonalToken) -> None:
    ends = timezone.now() + timedelta(minutes=5)
    PersonalToken.objects.update(expires_at=ends)
    laptop.refresh_from_db()
    token = access_tokens.issue(laptop, AUDIENCE)
    assert token.expires_at <= ends
    assert 0 < token.seconds_left <= 300
    assert "ey" not in repr(token)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"exp": int(time.time()) - 60}, id="over"),
        {"exp": None},
        pytest.param({"nbf": int(time.time()) + 600}, id="not yet"),
        {"iss": "elsewhere"},
        {"aud": None},
        {"aud": [AUDIENCE]},
        {"oid": "somebody"},
        {"cred": None},
        {"cred": "pat.0"},
        {"cred": "pat.x"},
        {"cred": "secret.1"},
        {"cred": ["pat.1"]},
        {"cred": "pat." + "9" * 40},
    ],
    ids=str,
)
def test_a_changed_claim_is_worth_nothing_even_well_signed(
    laptop: PersonalToken, tmp_path: Path, change: dict[str, Any]
) -> None:
    good = claims_of(access_tokens.issue(laptop, AUDIENCE).text)
    assert access_tokens.present(signed(good, tmp_path)) is not None
    bad = {name: value for name, value in {**good, **change}.items() if value is not None}
    assert access_tokens.present(signed(bad, tmp_path)) is None


def test_only_our_own_signature_counts(laptop: PersonalToken, tmp_path: Path) -> None:
    text = access_tokens.issue(laptop, AUDIENCE).text
    good = claims_of(text)
    head, body, signature = text.split(".")
    key = ensure_signing_key(tmp_path)
    forged = [
        signed(good, tmp_path / "foreign"),
        jwt.encode(good, "", "none", headers={"typ": access_tokens.TYPE}),
        jwt.encode(good, "x" * 32, "HS256", headers={"kid": key.id, "typ": access_tokens.TYPE}),
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        "a.b.c",
        "..",
        "",
        "x" * 20_000 + "..",
        "\xff.\xff.\xff",
    ]
    assert [access_tokens.present(item) for item in forged] == [None] * len(forged)


def test_a_token_of_an_endpoint_is_none_for_the_api(
    cast: Cast, laptop: PersonalToken, tmp_path: Path
) -> None:
    endpoint = make_online_endpoint(cast.workspace, auth_mode="aml_token")
    issued = keys.issue_token(endpoint, by=cast.alice).access_token
    assert access_tokens.looks_like_one(issued)
    assert access_tokens.present(issued) is None
    # Nor would one with our claims be, that is not marked as ours.
    good = claims_of(access_tokens.issue(laptop, AUDIENCE).text)
    assert access_tokens.present(signed(good, tmp_path, typ="JWT")) is None


def test_a_new_key_ends_all_tokens(laptop: PersonalToken, tmp_path: Path) -> None:
    text = access_tokens.issue(laptop, AUDIENCE).text
    (tmp_path / "tokens.key").unlink()
    assert access_tokens.present(text) is None


def test_anybody_can_check_it_with_the_public_keys(laptop: PersonalToken) -> None:
    text = access_tokens.issue(laptop, AUDIENCE).text
    [key] = jwt.PyJWKSet.from_json(access_tokens.jwks()).keys
    assert jwt.decode(text, key, ["ES256"], audience=AUDIENCE)["aud"] == AUDIENCE


def test_a_token_for_scoring_names_the_workspaces_where_its_user_may_score(cast: Cast) -> None:
    mine, read = make_workspace("mine", owner=cast.bob), make_workspace("read", reader=cast.alice)
    members.add_member(cast.workspace, make_user("dora").username, Role.DATA_SCIENTIST, by=None)
    root = make_user("root", is_superuser=True)

    def named(user: User, **limits: Any) -> Any:
        user.limits = None
        row, _ = tokens.create_token(user, f"t{user.personal_tokens.count()}", **limits)
        return claims_of(access_tokens.issue(row, AUDIENCE, for_scoring=True).text)["score"]

    here = str(cast.workspace.pk)
    assert named(cast.alice) == [here]
    assert named(cast.alice, scope="score") == [here]
    assert named(cast.alice, scope="read") == []
    assert named(cast.alice, workspace=read) == []
    assert named(cast.bob) == [str(mine.pk)]
    assert named(cast.charlie) == []
    assert named(make_user("dora")) == [here]
    assert named(root) == ["*"]
    assert named(root, scope="read") == []
    assert named(root, workspace=cast.workspace) == [here]


def test_a_use_of_the_access_token_is_a_use_of_the_token(laptop: PersonalToken) -> None:
    text = access_tokens.issue(laptop, AUDIENCE).text
    access_tokens.present(text)
    laptop.refresh_from_db()
    assert laptop.last_used_at is not None
    assert laptop.last_used_at > datetime.now(UTC) - timedelta(minutes=1)
