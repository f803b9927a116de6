"""What every answer carries, and what no log holds."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from portal.middleware import HEADER, POLICY
from portal.quiet import WithoutSignInLinks
from tests.factories import PASSWORD, let_sign_in, make_user
from workspaces import tokens

pytestmark = pytest.mark.django_db


def sign_in(client: Client, *, secure: bool) -> object:
    let_sign_in(make_user("alice"))
    fields = {"username": "alice", "password": PASSWORD}
    return client.post(reverse("sign_in"), fields, secure=secure)


def test_a_form_from_an_earlier_sign_in_is_out_of_date_and_nobodys_role_is_blamed() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("alice"))
    reply = client.post(reverse("sign_out"))
    assert reply.status_code == 403
    assert "This form is out of date" in reply.content.decode()
    assert "role" not in reply.content.decode().split("<h1")[1].split("</section>")[0]


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_given_over_tls_stay_there(secure: bool) -> None:
    client = Client()
    client.get(reverse("sign_in"), secure=secure)
    sign_in(client, secure=secure)
    session = client.cookies[settings.SESSION_COOKIE_NAME]
    form = client.cookies[settings.CSRF_COOKIE_NAME]
    assert bool(session["secure"]) is secure
    assert bool(form["secure"]) is secure
    assert session["httponly"]
    assert (session["samesite"], form["samesite"]) == ("Lax", "Lax")


@pytest.mark.parametrize(
    "path", ["/sign-in", "/nowhere", "/admin/login/", "/healthz", "/subscriptions", "/sign-in/x"]
)
def test_every_answer_carries_the_policy(path: str) -> None:
    assert Client().get(path).headers[HEADER] == POLICY


def test_the_policy_stands_before_what_serves_files() -> None:
    order = settings.MIDDLEWARE
    assert "portal.middleware.content_security_policy" in order[:2]


def test_a_foreign_host_name_is_told_what_to_do() -> None:
    answer = Client().get("/sign-in", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert answer.headers[HEADER] == POLICY
    assert "PORTICO_ALLOWED_HOSTS" in answer.content.decode()
    assert "evil.example" not in answer.content.decode()


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"]
)
def test_nobody_is_sent_elsewhere(place: str) -> None:
    client = Client()
    let_sign_in(make_user("alice"))
    fields = {"username": "alice", "password": PASSWORD, "next": place}
    assert client.post(f"{reverse('sign_in')}?next={place}", fields).headers["Location"] == "/"
    back = client.post(reverse("theme"), {"theme": "dark"}, headers={"referer": place})
    assert back.headers["Location"] == "/"


def test_a_sign_in_link_stays_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    secret = tokens.create_sign_in_link(make_user("alice"))
    caplog.handler.addFilter(WithoutSignInLinks())
    forged = Client(enforce_csrf_checks=True)
    with caplog.at_level(logging.INFO):
        assert forged.post(f"/sign-in/{secret}").status_code == 403
        assert Client().get(f"/sign-in/{secret}x").status_code == 410
    assert len(caplog.records) == 2
    assert secret not in caplog.text
    assert "/sign-in/…" in caplog.text
    assert tokens.is_open(secret)


def test_every_line_of_the_log_goes_through_that_filter() -> None:
    logs: dict[str, Any] = settings.LOGGING
    assert all(handler["filters"] == ["secrets"] for handler in logs["handlers"].values())
    assert logs["filters"]["secrets"]["()"].endswith("WithoutSignInLinks")


def test_a_link_signs_in_once() -> None:
    secret = tokens.create_sign_in_link(make_user("alice"))
    assert Client().get(f"/sign-in/{secret}").status_code == 200
    assert Client().head(f"/sign-in/{secret}").status_code == 200
    assert Client().post(f"/sign-in/{secret}").headers["Location"] == "/"
    second = Client()
    assert second.post(f"/sign-in/{secret}").status_code == 410
    assert settings.SESSION_COOKIE_NAME not in second.cookies


def test_guessing_from_elsewhere_locks_nobody_out() -> None:
    let_sign_in(make_user("alice"))

    def try_(password: str, address: str, forwarded: str) -> int:
        fields = {"username": "alice", "password": password}
        told = {"x-envoy-external-address": address, "x-forwarded-for": forwarded}
        return Client().post(reverse("sign_in"), fields, headers=told).status_code

    # What a stranger says of themselves changes nothing: each time they come from elsewhere, they say.
    guesses = [try_("guess", "203.0.113.9", f"198.51.100.{number}") for number in range(12)]
    assert (guesses[0], guesses[-1]) == (200, 429)
    assert try_(PASSWORD, "203.0.113.9", "192.0.2.1") == 429
    # From anywhere else the right password is as good as ever.
    assert try_(PASSWORD, "192.0.2.1", "203.0.113.9") == 302
