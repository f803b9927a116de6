"""The tabs “Instances” and “Build log” in a real browser, over real instances."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.browser.deploying import deploy, expect_state, remove, signed_in
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

PHONE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_instances_are_restarted_and_drained_while_the_page_follows(
    open_page: OpenPage, house: House, chromium: Browser
) -> None:
    state = signed_in(house, chromium)
    studio = open_page(storage_state=state, base_url=house.url)
    page_url = deploy(studio, "instances", instance_count="2")
    studio.goto(page_url)
    expect_state(studio, "Succeeded")

    studio.goto(f"{page_url}?tab=instances")
    first, second = studio.locator("#instance-1-0"), studio.locator("#instance-1-1")
    expect(first.get_by_text(re.compile("Healthy"))).to_be_visible()
    first.get_by_role("link", name="Drain instance 0").click()
    dialog = studio.get_by_role("dialog")
    expect(dialog).to_contain_text("Replace instance 0 of blue?")
    assert accessibility_faults(studio) == []
    dialog.get_by_role("button", name="Drain instance").click()
    # Its place is taken by the next free number, without a reload.
    expect(studio.locator("#instance-1-2")).to_contain_text("Healthy", timeout=60_000)
    expect(first).to_have_count(0, timeout=60_000)
    second.get_by_role("link", name="Restart instance 1").click()
    dialog.get_by_role("button", name="Restart instance").click()
    expect(second).to_contain_text(re.compile("will be restarted|Starting"))
    expect(second).to_contain_text("Healthy", timeout=60_000)

    studio.goto(f"{page_url}?tab=build")
    expect(studio.locator("#build-log")).to_contain_text(re.compile("ready|built before"))
    assert accessibility_faults(studio) == []
    phone = open_page(width=360, theme="dark", storage_state=state, base_url=house.url)
    for tab in ("instances", "build"):
        phone.goto(f"{page_url}?tab={tab}")
        expect(phone.locator("#deployment-body")).to_be_visible()
        assert phone.evaluate(PHONE) == 0
    remove(studio, "instances")
