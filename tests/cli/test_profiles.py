"""Where the user is signed in, and as whom."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli import account, profiles
from cli.faults import ClientFault, UsageFault
from tests.cli.conftest import SUBSCRIPTION, sign_in


def test_only_the_user_can_read_tokens(own_folder: Path) -> None:
    sign_in()
    file = own_folder / "profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "ptc_secret" in file.read_text()
    assert [path.name for path in own_folder.iterdir()] == ["profiles.json"]


def test_a_token_is_not_shown_by_accident() -> None:
    profile = sign_in()
    assert "ptc_secret" not in repr(profile)
    assert "ptc_secret" not in str(account.show())


def test_nobody_signed_in_is_told_how() -> None:
    with pytest.raises(UsageFault, match="portico login --url"):
        profiles.current()


def test_the_last_one_signed_in_is_in_use_until_another_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign_in("one")
    sign_in("two")
    assert profiles.current().name == "two"
    assert profiles.current("one").name == "one"
    monkeypatch.setenv(profiles.PROFILE_VARIABLE, "one")
    assert profiles.current().name == "one"
    with pytest.raises(UsageFault, match=r"no profile 'three'\. There is 'one', 'two'"):
        profiles.current("three")


def test_signing_out_forgets_one_or_all() -> None:
    sign_in("one")
    sign_in("two")
    account.logout()
    assert [profile["name"] for profile in account.list_all()] == ["one"]
    assert profiles.current().name == "one"
    account.logout(all_profiles=True)
    assert account.list_all() == []


def test_a_damaged_file_names_itself(own_folder: Path) -> None:
    sign_in()
    (own_folder / "profiles.json").write_text('{"profiles": []}')
    with pytest.raises(UsageFault, match=r"profiles\.json cannot be read"):
        profiles.read()


def test_what_a_later_version_keeps_is_no_obstacle(own_folder: Path) -> None:
    sign_in()
    file = own_folder / "profiles.json"
    file.write_text(file.read_text().replace('"token"', '"colour": "red", "token"'))
    assert profiles.current().token == "ptc_secret"


def test_account_set_takes_a_profile_or_a_subscription() -> None:
    other = "00000000-0000-0000-0000-00000000000b"
    sign_in("one")
    sign_in("two", other)
    account.use("one")
    assert account.show()["id"] == SUBSCRIPTION
    account.use(other.upper())
    assert account.show()["name"] == "two"
    with pytest.raises(ClientFault, match="doesn't exist in any profile"):
        account.use("nowhere")


def test_the_access_token_for_scripts_has_the_fields_of_az() -> None:
    sign_in()
    told = account.access_token(resource="https://ml.azure.com")
    assert told["accessToken"] == "ptc_secret"
    assert set(told) == {
        "accessToken",
        "expiresOn",
        "expires_on",
        "subscription",
        "tenant",
        "tokenType",
    }


def test_a_script_that_signs_in_to_azure_goes_on_with_the_profile_in_use() -> None:
    with pytest.raises(UsageFault, match="Which portal"):
        account.login(service_principal=True, username="app", password="secret")
    sign_in("one")
    assert [told["name"] for told in account.login(identity=True)] == ["one"]
    with pytest.raises(UsageFault, match="Which portal"):
        account.login()


def test_an_empty_input_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_TOKEN", "two words")
    with pytest.raises(UsageFault, match="Copy it whole"):
        account.token_of(None)
    monkeypatch.delenv("PORTICO_TOKEN")
    with pytest.raises(UsageFault, match="PORTICO_TOKEN"):
        account.token_of("  ")
