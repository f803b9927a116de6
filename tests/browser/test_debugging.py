"""The page “Debug” of a deployment in a real browser, over a real session."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.browser.deploying import deploy, expect_state, remove, signed_in
from tests.browser.test_instances_tab import PHONE
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_a_session_is_started_followed_and_stopped(
    open_page: OpenPage, house: House, chromium: Browser
) -> None:
    state = signed_in(house, chromium)
    studio = open_page(storage_state=state, base_url=house.url)
    page_url = deploy(studio, "breakpoints")
    studio.goto(page_url)
    expect_state(studio, "Succeeded")
    studio.goto(page_url)
    studio.get_by_role("link", name="Debug", exact=True).click()
    studio.get_by_label("Hours from now on").select_option("2")
    assert accessibility_faults(studio) == []
    studio.get_by_role("button", name="Start debug session").click()
    # It asks again until the instance answers, without a reload.
    expect(studio.locator("#debug-attach-code")).to_contain_text(
        "portico ml online-deployment attach-debug", timeout=60_000
    )
    studio.get_by_text("With an account on the portal's machine").click()
    expect(studio.locator("#debug-tunnel-code")).to_contain_text("ssh -N -L 5678:127.0.0.1:")
    expect(studio.locator("#debug-curl-code")).to_contain_text("blue.debug")
    assert accessibility_faults(studio) == []
    phone = open_page(width=360, theme="dark", storage_state=state, base_url=house.url)
    phone.goto(studio.url)
    expect(phone.locator("#debug-launch-code")).to_be_visible()
    assert phone.evaluate(PHONE) == 0
    assert accessibility_faults(phone) == []
    studio.get_by_role("button", name="Stop").click()
    expect(studio.get_by_role("button", name="Start debug session")).to_be_visible(timeout=60_000)
    remove(studio, "breakpoints")
