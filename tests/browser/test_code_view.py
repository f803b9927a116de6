"""“View as code” in a real browser: it follows the form, works without scripts, and fits a phone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.browser.deploying import signed_in
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

CREATE = "/w/main/endpoints/create"
PAGES = (CREATE, "/w/main/models/register", "/w/main/account")


@pytest.fixture(scope="module")
def state(house: House, chromium: Browser) -> Any:
    return signed_in(house, chromium)


def test_the_code_follows_what_is_typed_and_keeps_its_language(
    open_page: OpenPage, house: House, state: Any
) -> None:
    page = open_page(storage_state=state, base_url=house.url)
    page.goto(CREATE)
    fold = page.locator("details.as-code")
    fold.locator("summary").click()
    fold.get_by_role("tab", name="CLI").click()
    page.get_by_label("Endpoint name").fill("typed-name")
    shown = fold.locator("[role=tabpanel]:visible")
    expect(shown).to_contain_text("name: typed-name")
    expect(shown).to_contain_text("portico ml online-endpoint create")
    expect(page.get_by_label("Endpoint name")).to_be_focused()
    fold.get_by_role("tab", name="Python").click()
    expect(shown).to_contain_text('ManagedOnlineEndpoint(name="typed-name"')


def test_without_scripts_all_forms_stand_below_each_other(
    open_page: OpenPage, house: House, state: Any
) -> None:
    page = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    page.goto("/w/main/models/register")
    fold = page.locator("details.as-code")
    fold.locator("summary").click()
    for word in (
        "path: ./model",
        "portico ml model create",
        "ml.models.create_or_update",
        "call ",
    ):
        expect(fold.locator("pre").filter(has_text=word).first).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_the_code(
    open_page: OpenPage, house: House, state: Any, path: str
) -> None:
    for theme in ("light", "dark"):
        page = open_page(theme=theme, storage_state=state, base_url=house.url)
        page.goto(path)
        page.locator("details.as-code summary:visible").first.click()
        expect(page.locator("details.as-code pre:visible").first).to_be_visible()
        assert accessibility_faults(page) == []
    phone = open_page(width=360, storage_state=state, base_url=house.url)
    phone.goto(path)
    phone.locator("details.as-code summary:visible").first.click()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
