"""How views answer: page or part, redirect, toast; and what every response carries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.messages.storage.cookie import CookieStorage
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import AsyncClient, Client, RequestFactory
from django_htmx.middleware import HtmxMiddleware

from portal import pages
from portal.middleware import HEADER, content_security_policy

PAGE, PART = "gallery.html", "gallery/_forms.html"
pytestmark = pytest.mark.urls("tests.browser.gallery_urls")


def request_with(**headers: str) -> HttpRequest:
    request = RequestFactory().get("/", headers=headers)
    made: Any = request
    made._messages = CookieStorage(request)
    HtmxMiddleware(lambda _: HttpResponse())(request)
    return request


def swap() -> HttpRequest:
    return request_with(HX_Request="true")


def test_a_visit_gets_the_page_and_a_swap_only_its_part() -> None:
    page = pages.render_page(request_with(), PAGE, PART, {}).content.decode()
    part = pages.render_page(swap(), PAGE, PART, {}).content.decode()
    assert "<!DOCTYPE html>" in page
    assert "<html" not in part
    assert without_tokens(part).strip() in without_tokens(page)


def test_a_boosted_visit_gets_the_whole_page() -> None:
    boosted = request_with(HX_Request="true", HX_Boosted="true")
    assert b"<!DOCTYPE html>" in pages.render_page(boosted, PAGE, PART, {}).content


def test_caches_keep_page_and_part_apart() -> None:
    response = pages.render_page(request_with(), PAGE, PART, {})
    assert {"HX-Request", "HX-Boosted"} <= set(response.headers["Vary"].split(", "))


def test_a_form_that_did_not_validate_is_swapped_in_with_422() -> None:
    assert pages.render_page(swap(), PAGE, PART, {}, status=422).status_code == 422


def test_after_a_post_a_browser_is_sent_on_with_303_and_htmx_by_header() -> None:
    browser = pages.go(request_with(), "/w/main/endpoints")
    assert (browser.status_code, browser.headers["Location"]) == (303, "/w/main/endpoints")
    assert pages.go(swap(), "/w/main/endpoints").headers["HX-Redirect"] == "/w/main/endpoints"


def test_a_toast_reaches_the_open_page_with_its_action() -> None:
    request = swap()
    pages.toast(request, "Traffic updated.", action=("Undo", "/undo"))
    triggers = json.loads(pages.render_page(request, PAGE, PART, {}).headers["HX-Trigger"])
    expected = {
        "text": "Traffic updated.",
        "level": "success",
        "action": {"label": "Undo", "url": "/undo"},
    }
    assert triggers["toast"]["items"] == [expected]


def test_a_toast_before_a_redirect_waits_for_the_next_page() -> None:
    request = swap()
    pages.toast(request, "Deleting churn.", level="info")
    assert "HX-Trigger" not in pages.go(request, "/").headers
    page = pages.render_page(request_again(request), PAGE, PART, {}).content.decode()
    assert "Deleting churn." in page


def test_done_closes_the_dialog_and_asks_parts_to_refresh() -> None:
    request = swap()
    pages.toast(request, "Key regenerated.")
    response = pages.done(request, refresh="keys:changed")
    triggers = json.loads(response.headers["HX-Trigger"])
    assert response.status_code == 204
    assert set(triggers) == {"dialog:close", "keys:changed", "toast"}


def test_every_response_forbids_inline_script_and_style(client: Client) -> None:
    policy = client.get("/_gallery").headers[HEADER]
    assert "script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy


async def test_asynchronous_responses_carry_the_policy_too(async_client: AsyncClient) -> None:
    response = await async_client.get("/healthz")
    assert "frame-ancestors 'none'" in response.headers[HEADER]


def test_a_response_with_a_policy_of_its_own_keeps_it() -> None:
    own = HttpResponse(headers={HEADER: "sandbox"})
    middleware: Any = content_security_policy(lambda _: own)
    assert middleware(request_with()).headers[HEADER] == "sandbox"


def test_no_template_of_the_gallery_has_inline_script_or_style(client: Client) -> None:
    html = client.get("/_gallery").content.decode()
    assert " style=" not in html
    assert "<style" not in html
    assert "javascript:" not in html
    assert " onclick=" not in html
    for script in html.split("<script")[1:]:
        assert " src=" in script.split(">")[0] or 'type="application/json"' in script.split(">")[0]


def test_a_page_without_a_user_asks_the_database_nothing(client: Client) -> None:
    # pytest-django fails a test that touches the database without asking for it.
    assert client.get("/_gallery").status_code == 200


@pytest.mark.parametrize("template", ["403.html", "404.html", "500.html"])
def test_error_pages_say_what_to_do_next(template: str) -> None:
    request = request_with()
    html = pages.render_page(request, template, template, {"message": ""}).content.decode()
    assert html.count("<h1") == 1
    assert 'href="/"' in html


def test_the_page_of_a_fault_does_not_read_what_may_be_broken() -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise OperationalError("the database is gone")

    request: Any = request_with()
    request.user = Broken()
    assert "Something went wrong" in render_to_string("500.html", request=request)


def request_again(before: Any) -> HttpRequest:
    """The next visit of the same browser."""
    request = request_with()
    made: Any = request
    made._messages = before._messages
    return request


def without_tokens(html: str) -> str:
    """CSRF tokens differ from one rendering to the next."""
    return "\n".join(
        line.strip()
        for line in html.splitlines()
        if "csrf" not in line and "<time" not in line and line.strip()
    )
