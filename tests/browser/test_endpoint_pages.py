"""The endpoint pages in a real browser, on a running installation with its sample endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

ENDPOINT = "/w/main/endpoints/diabetes"
PAGES = {
    "overview": "/w/main/",
    "list": "/w/main/endpoints",
    "empty list": "/w/main/endpoints?q=nothing-like-this",
    "details": ENDPOINT,
    "traffic": f"{ENDPOINT}/traffic",
    "edit": f"{ENDPOINT}/edit",
    "delete": f"{ENDPOINT}/delete",
    "test": f"{ENDPOINT}/test",
    "consume": f"{ENDPOINT}/consume",
    "monitoring": f"{ENDPOINT}/monitoring",
    "logs": f"{ENDPOINT}/logs",
    "activity": f"{ENDPOINT}/activity",
}


@pytest.fixture(scope="module")
def state(house: House, chromium: Browser) -> Iterator[Any]:
    """The cookies of somebody signed in, and the sample endpoint split 90 to 10."""
    done = house.run("sample")
    assert done.returncode == 0, done.stdout + done.stderr
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/sign-in")
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(house.admin_password)
    page.locator("input[name=password]").press("Enter")
    expect(page).to_have_url(re.compile("/w/main/"))
    yield context.storage_state()
    context.close()


@pytest.fixture
def studio(open_page: OpenPage, house: House, state: Any) -> Page:
    return open_page(storage_state=state, base_url=house.url)


@pytest.fixture
def ninety_to_ten(house: House, state: Any) -> Iterator[None]:
    """Whatever a test did to the split is put right after it."""
    yield
    split = (
        "from endpoints.models import OnlineEndpoint\n"
        "from endpoints.traffic import set_both\n"
        "set_both(OnlineEndpoint.objects.get(name='diabetes'), {'blue': 90, 'green': 10}, {}, by=None)\n"
    )
    done = house.run("shell", "-c", split)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_use_the_page(
    open_page: OpenPage, house: House, state: Any, name: str
) -> None:
    """axe finds nothing, light and dark; on a phone, and at 200 % zoom, nothing is wider than the screen."""
    for theme in ("light", "dark"):
        page = open_page(theme=theme, storage_state=state, base_url=house.url)
        page.goto(PAGES[name])
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert accessibility_faults(page) == []
    narrow = open_page(width=360, storage_state=state, base_url=house.url)
    narrow.goto(PAGES[name])
    for width in (360, 720):
        narrow.set_viewport_size({"width": width, "height": 900})
        assert narrow.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_without_scripts(
    open_page: OpenPage, house: House, state: Any, name: str
) -> None:
    page = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    reply = page.goto(PAGES[name])
    assert reply is not None
    assert reply.status == 200
    expect(page.locator("main")).to_be_visible()


# Traffic ----------------------------------------------------------------------------------------------


def shares(page: Page) -> dict[str, int]:
    fields = page.locator("#traffic-form [data-traffic-row] input[type=number]")
    return {
        str(field.get_attribute("name")).removeprefix("traffic-"): int(field.input_value())
        for field in fields.all()
    }


@pytest.mark.usefixtures("ninety_to_ten")
def test_traffic_is_moved_told_and_undone(studio: Page) -> None:
    studio.goto(ENDPOINT)
    studio.get_by_role("heading", level=1).click()
    studio.keyboard.press("t")
    dialog = studio.locator("#dialog")
    expect(dialog).to_be_visible()
    slider = dialog.get_by_label("Traffic of green")
    slider.focus()
    studio.keyboard.press("PageUp")
    assert shares(studio) == {"blue": 80, "green": 20}
    dialog.get_by_label("Note").fill("from the browser")
    dialog.get_by_role("button", name="Update").click()
    expect(dialog).to_be_hidden()
    told = studio.locator(".toast-item")
    expect(told).to_contain_text("Traffic updated: blue 80 %, green 20 %.")
    expect(studio.locator(".donut__legend")).to_contain_text("80")
    told.get_by_role("button", name="Undo").click()
    expect(studio.locator(".donut__legend")).to_contain_text("90")


def test_a_total_that_is_wrong_cannot_be_sent(studio: Page) -> None:
    studio.goto(f"{ENDPOINT}/traffic")
    studio.get_by_label("Lock blue").click()
    studio.get_by_label("Percentage of green").fill("5")
    expect(studio.locator("[data-traffic-total]")).to_contain_text("Now 95 %")
    expect(studio.get_by_role("button", name="Update")).to_be_disabled()
    studio.get_by_role("button", name="All to green").click()
    assert shares(studio) == {"blue": 0, "green": 100}
    expect(studio.get_by_role("button", name="Update")).to_be_enabled()


@pytest.mark.usefixtures("ninety_to_ten")
def test_two_editors_see_each_other(chromium: Browser, house: House, state: Any) -> None:
    """Not with `open_page`: the browser notes the conflict's status as an error."""
    context = chromium.new_context(storage_state=state, base_url=house.url)
    ana, ben = context.new_page(), context.new_page()
    for page in (ana, ben):
        page.goto(ENDPOINT)
        page.locator(".page-head").get_by_role("link", name="Update traffic").click()
        expect(page.locator("#dialog")).to_be_visible()
    ana.locator("#dialog").get_by_role("button", name="50/50").click()
    ana.locator("#dialog").get_by_role("button", name="Update").click()
    expect(ana.locator("#dialog")).to_be_hidden()
    dialog = ben.locator("#dialog")
    dialog.get_by_role("button", name="All to blue").click()
    dialog.get_by_role("button", name="Update").click()
    expect(dialog).to_contain_text("blue 50 %, green 50 %")
    expect(dialog).to_contain_text("blue 100 %")
    dialog.get_by_role("button", name="Apply mine").click()
    expect(dialog).to_be_hidden()
    expect(ben.locator(".donut__legend")).to_contain_text("100")
    context.close()


@pytest.mark.usefixtures("ninety_to_ten")
def test_traffic_is_changed_without_scripts(open_page: OpenPage, house: House, state: Any) -> None:
    page = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    page.goto(f"{ENDPOINT}/traffic")
    page.get_by_role("link", name="50/50").click()
    page.get_by_role("button", name="Update").click()
    expect(page).to_have_url(re.compile(f"{ENDPOINT}$"))
    expect(page.locator(".donut__legend")).to_contain_text("50")


# Test, keys, logs -------------------------------------------------------------------------------------


def test_a_request_is_sent_from_the_editor_and_its_answer_explained(studio: Page) -> None:
    studio.goto(f"{ENDPOINT}/test")
    # The editor covers the plain field when it has come.
    editor = studio.locator(".editor").get_by_role("textbox", name="JSON body")
    editor.click()
    studio.keyboard.press("Control+Enter")
    expect(studio.locator("#test-result")).to_contain_text("200 OK")
    editor.click()
    studio.keyboard.press("Control+A")
    # Typing over a selection makes Chromium itself write a style, which the policy refuses with a complaint.
    studio.keyboard.press("Delete")
    studio.keyboard.type('{"data": "bad"}')
    studio.get_by_role("button", name="Test", exact=True).click()
    expect(studio.locator("#test-result")).to_contain_text("The model returned 500.")
    studio.get_by_role("link", name="View the traceback").click()
    expect(studio.locator(".log__fold summary").last).to_contain_text("ValueError")


def test_a_key_is_shown_hidden_and_copied(open_page: OpenPage, house: House, state: Any) -> None:
    page = open_page(
        storage_state=state,
        base_url=house.url,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.goto(f"{ENDPOINT}/consume")
    keys = page.locator("#credentials")
    expect(keys.locator("output")).to_have_count(0)
    keys.get_by_role("button", name="Show").first.click()
    shown = keys.locator("output").first
    expect(shown).to_have_text(re.compile(r"^\s*\w{32}\s*$"))
    key = shown.inner_text().strip()
    keys.get_by_role("link", name="Hide").click()
    expect(keys.locator("output")).to_have_count(0)
    keys.get_by_role("button", name="Copy").first.click()
    expect(page.locator(".toast-item")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key


def test_a_line_that_the_model_prints_appears_by_itself(studio: Page, house: House) -> None:
    studio.goto(f"{ENDPOINT}/logs?deployment=green")
    expect(studio.locator("[data-log-status]")).to_have_text("Live")
    before = studio.locator(".log__line").count()
    # The server writes a line for a request that failed.
    reply = httpx.post(
        f"{house.url}{ENDPOINT}/test/send",
        cookies={item["name"]: item["value"] for item in studio.context.cookies()},
        data={
            "csrfmiddlewaretoken": studio.locator('meta[name="csrf-token"]').get_attribute(
                "content"
            ),
            "mode": "json",
            "json": '{"data": "bad"}',
            "deployment": "green",
        },
        headers={"Referer": house.url},
        trust_env=False,
    )
    assert reply.status_code == 200
    expect(studio.locator(".log__line")).not_to_have_count(before)
    expect(studio.locator(".log__line").last).to_contain_text("POST /score 500")
    expect(studio.locator(".log__fold summary").last).to_contain_text("ValueError")


# The list ---------------------------------------------------------------------------------------------


def test_the_list_filters_as_one_types_and_keeps_it_in_the_address(studio: Page) -> None:
    studio.goto("/w/main/endpoints")
    studio.keyboard.press("/")
    studio.keyboard.type("nothing-like-this")
    expect(studio.locator("#endpoint-list")).to_contain_text("No endpoint matches these filters.")
    expect(studio).to_have_url(re.compile("q=nothing-like-this"))
    studio.get_by_role("link", name="Clear filters").click()
    expect(studio.get_by_role("link", name="diabetes", exact=True)).to_be_visible()


def test_deleting_several_asks_in_a_dialog(studio: Page) -> None:
    studio.goto("/w/main/endpoints")
    expect(studio.get_by_role("button", name="Delete selected")).to_be_hidden()
    studio.get_by_label("Select diabetes").check()
    studio.get_by_role("button", name="Delete selected").click()
    dialog = studio.locator("#dialog")
    expect(dialog).to_contain_text("Delete 1 endpoint?")
    expect(dialog.get_by_text("Cancel")).to_be_focused()
    studio.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


@pytest.mark.usefixtures("ninety_to_ten")
def test_the_palette_leads_to_an_action(studio: Page) -> None:
    studio.goto("/w/main/")
    studio.keyboard.press("Control+k")
    studio.keyboard.type("diabetes all traffic to green")
    expect(
        studio.get_by_role("option", name=re.compile("Send all traffic to green"))
    ).to_be_visible()
    studio.keyboard.press("Enter")
    expect(studio).to_have_url(re.compile("/traffic"))
    assert shares(studio) == {"blue": 0, "green": 100}


def test_charts_are_drawn_and_are_tables_too(studio: Page) -> None:
    studio.goto(f"{ENDPOINT}/monitoring")
    studio.get_by_label("Split by").select_option("deployment")
    expect(studio).to_have_url(re.compile("split=deployment"))
    first = studio.locator(".chart").first
    expect(first.locator(".js-plotly-plot")).to_be_visible()
    first.get_by_role("button", name=re.compile("as a table")).click()
    expect(first.get_by_role("columnheader", name="Time")).to_be_visible()
