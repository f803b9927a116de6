"""The page of a deployment in a real browser: it follows what happens, says why it failed, and mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.browser.deploying import deploy, expect_state, post, remove, signed_in
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

TALKING = """\
import time

def init():
    for number in range(400):
        print(f"line {number} of init", flush=True)
        time.sleep(0.02)

def run(data):
    return data
"""
WITHOUT_RUN = "def init():\n    pass\n"


@pytest.fixture(scope="module")
def state(house: House, chromium: Browser) -> Any:
    return signed_in(house, chromium)


@pytest.fixture
def studio(open_page: OpenPage, house: House, state: Any) -> Page:
    return open_page(storage_state=state, base_url=house.url)


@pytest.fixture
def endpoint(chromium: Browser, house: House, state: Any, request: Any) -> Iterator[str]:
    """The name of an endpoint of this test's own; it is deleted after it."""
    name = f"page-{abs(hash(request.node.name)) % 10**8}"
    yield name
    context = chromium.new_context(storage_state=state, base_url=house.url)
    remove(context.new_page(), name)
    context.close()


def test_an_open_log_stays_open_and_where_it_was_read(studio: Page, endpoint: str) -> None:
    studio.goto(deploy(studio, endpoint, script=TALKING))
    log = studio.locator("#phase-load-model pre")
    expect(log).to_contain_text("line 60 of init", timeout=60_000)
    # At its end it follows; scrolled up it stays.
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 24"
    assert log.evaluate(at_end)
    log.evaluate("log => log.scrollTop = 40")
    build = studio.locator("#phase-build-environment details")
    # The log of what runs is open by itself, and folds when that has ended.
    expect(build).not_to_have_attribute("open", "")
    build.locator("summary").click()
    before = log.inner_text()
    expect(log).not_to_have_text(before)
    assert log.evaluate("log => log.scrollTop") == 40
    expect(build).to_have_attribute("open", "")
    expect_state(studio, "Succeeded")
    expect(build).to_have_attribute("open", "")


def test_asking_ends_when_there_is_nothing_more_to_see(studio: Page, endpoint: str) -> None:
    studio.goto(deploy(studio, endpoint))
    expect_state(studio, "Succeeded")
    expect(studio.locator("#deployment-body")).not_to_have_attribute("hx-trigger", re.compile("."))
    asked: list[str] = []
    studio.on("request", lambda request: asked.append(request.url))
    # Three times the interval: silence cannot be waited for otherwise.
    studio.wait_for_timeout(3_000)
    assert [url for url in asked if "/deployments/" in url] == []


def test_a_failure_is_mended_where_its_button_leads(studio: Page, endpoint: str) -> None:
    studio.goto(deploy(studio, endpoint, script=WITHOUT_RUN, all_traffic="on"))
    expect_state(studio, "Failed")
    card = studio.locator(".failure")
    expect(card).to_contain_text("UserScriptFunctionNotFound")
    assert accessibility_faults(studio) == []
    card.get_by_role("link", name="Edit the script").click()
    editor = studio.get_by_label("Script", exact=True).locator("visible=true").last
    expect(studio.locator("#preflight")).to_contain_text("tried again as it is")
    editor.click()
    studio.keyboard.press("Control+End")
    studio.keyboard.type("\n\ndef run(data):\nreturn 1")
    expect(studio.locator("#preflight")).to_contain_text("Updates 1 field: script.")
    studio.get_by_role("button", name="Update").click()
    expect(studio).to_have_url(re.compile("/deployments/blue$"))
    expect_state(studio, "Succeeded")
    expect(studio.locator("#deployment-body")).to_contain_text("live 100 %")
    expect(studio.locator(".failure")).to_have_count(0)


def test_scaling_restoring_and_deleting_say_what_they_do(studio: Page, endpoint: str) -> None:
    url = deploy(studio, endpoint)
    studio.goto(url)
    expect_state(studio, "Succeeded")
    studio.get_by_role("button", name="One instance more").click()
    expect(studio.locator(".toast-item")).to_contain_text("Scaling blue to 2.")
    expect_state(studio, "Succeeded")
    expect(studio.locator("#deployment-body")).to_contain_text("2 of 2 ready")

    studio.get_by_role("link", name="Edit").click()
    studio.get_by_label("Request timeout").fill("9000")
    studio.get_by_label("Request timeout").blur()
    expect(studio.locator("#preflight")).to_contain_text("Rolling restart, no downtime.")
    studio.get_by_role("button", name="Update").click()
    expect(studio).to_have_url(re.compile("/deployments/blue$"))
    expect_state(studio, "Succeeded")

    studio.goto(f"{url}?tab=revisions")
    studio.get_by_role("button", name="Restore revision 1").first.click()
    dialog = studio.locator("dialog[open]")
    expect(dialog).to_contain_text("Updates 1 field: request timeout.")
    dialog.get_by_role("button", name="Restore revision 1").click()
    expect(studio.locator(".toast-item")).to_contain_text("Restoring revision 1 of blue.")
    expect_state(studio, "Succeeded")

    studio.get_by_role("link", name="Delete").click()
    studio.locator("dialog[open]").get_by_role("button", name="Delete deployment").click()
    # The open page learns that it is gone, and leaves.
    expect(studio).to_have_url(re.compile(f"/endpoints/{endpoint}$"), timeout=60_000)
    expect(studio.locator(".toast-item")).to_contain_text("Deployment blue was deleted.")


def test_a_running_operation_is_canceled(studio: Page, endpoint: str) -> None:
    studio.goto(deploy(studio, endpoint, script=TALKING.replace("400", "4000")))
    expect(studio.locator("#phase-load-model")).to_contain_text("line", timeout=60_000)
    studio.get_by_role("button", name="Cancel operation").click()
    expect_state(studio, "Failed")
    expect(studio.locator(".failure")).to_contain_text("The operation was canceled.")
    expect(studio.get_by_role("button", name="Try again")).to_be_visible()


def test_everybody_can_use_the_page(
    open_page: OpenPage, house: House, state: Any, endpoint: str
) -> None:
    first = open_page(storage_state=state, base_url=house.url)
    url = deploy(first, endpoint)
    first.goto(url)
    expect_state(first, "Succeeded")
    addresses = [
        url,
        f"{url}?tab=instances",
        f"{url}?tab=revisions",
        f"{url}/edit",
        f"{url}/delete",
    ]
    addresses.append(f"/w/main/endpoints/{endpoint}/deployments/create")
    for theme in ("light", "dark"):
        page = open_page(theme=theme, storage_state=state, base_url=house.url)
        for address in addresses:
            page.goto(address)
            assert accessibility_faults(page) == [], address
    phone = open_page(width=360, storage_state=state, base_url=house.url)
    plain = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    for address in addresses:
        phone.goto(address)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360, address
        reply = plain.goto(address)
        assert reply is not None and reply.status == 200
    # The delete button asks on a page of its own.
    plain.goto(url)
    plain.get_by_role("link", name="Delete").click()
    plain.get_by_role("button", name="Delete deployment").click()
    expect(plain.locator("#deployment-body")).to_contain_text("Deleting")


def test_a_page_that_is_stale_is_told(studio: Page, endpoint: str) -> None:
    """Two browsers: one deletes, the other one's button is refused with a sentence, not an error page."""
    url = deploy(studio, endpoint)
    studio.goto(url)
    expect_state(studio, "Succeeded")
    post(studio, f"{url}/scale", instance_count="2")
    studio.get_by_role("button", name="One instance more").click()
    expect(studio.locator(".toast-item").first).to_be_visible()
