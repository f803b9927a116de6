"""Every shared part in a real browser: policy, accessibility, and what each behaviour promises."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.browser.conftest import OpenPage, accessibility_faults

pytestmark = pytest.mark.browser


def visit(page: Page, url: str) -> Page:
    """The gallery with its lazy parts loaded."""
    page.goto(url)
    expect(page.locator(".editor")).to_have_count(2)
    page.locator("[data-chart-plot]").scroll_into_view_if_needed()
    expect(page.locator("[data-chart-plot] .main-svg").first).to_be_visible()
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_everything_shows_without_a_refusal_or_sideways_scrolling(
    open_page: OpenPage, gallery_url: str, theme: str, width: int
) -> None:
    page = visit(open_page(width=width, theme=theme), gallery_url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_fault(open_page: OpenPage, gallery_url: str, theme: str) -> None:
    page = visit(open_page(theme=theme), gallery_url)
    assert accessibility_faults(page) == []
    page.click("[data-dialog-open=traffic]")
    assert accessibility_faults(page) == []


def test_moving_a_share_spreads_the_rest(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url).keyboard.press("t")
    slider = page.get_by_label("Traffic of blue")
    slider.press("PageDown")
    assert traffic(page) == {"blue": 80, "green": 20, "candidate": 0}
    slider.press("ArrowRight")
    assert traffic(page) == {"blue": 81, "green": 19, "candidate": 0}
    assert slider.get_attribute("aria-valuetext") == "blue 81 percent"
    page.get_by_label("Percentage of green").fill("100")
    assert traffic(page) == {"blue": 0, "green": 100, "candidate": 0}


def test_a_locked_share_stays_and_a_wrong_total_cannot_be_sent(
    page: Page, gallery_url: str
) -> None:
    visit(page, gallery_url).keyboard.press("t")
    page.get_by_label("Lock green").click()
    page.get_by_label("Traffic of blue").press("PageDown")
    assert traffic(page) == {"blue": 80, "green": 10, "candidate": 0}
    expect(page.locator("[data-traffic-total]")).to_have_text(
        "Total must be 0 % or 100 %. Now 90 %."
    )
    expect(page.locator("[data-traffic-submit]")).to_be_disabled()
    page.get_by_role("button", name="No traffic").click()
    expect(page.locator("[data-traffic-submit]")).to_be_enabled()


def test_spread_shares_always_add_up(page: Page, gallery_url: str) -> None:
    """A thousand random dialogs: whole numbers from 0 to 100, total 100, locked shares untouched."""
    page.goto(gallery_url)
    wrong = page.evaluate(
        """async () => {
          const { spread } = await import("/static/js/traffic.js");
          let seed = 7;
          const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
          const wrong = [];
          for (let round = 0; round < 1000; round += 1) {
            const size = 2 + random(7);
            let left = 100;
            const shares = Array.from({ length: size }, (_, i) => {
              const share = i === size - 1 ? left : random(left + 1);
              left -= share;
              return share;
            });
            const moved = random(size);
            const locked = shares.map((_, i) => i !== moved && random(3) === 0);
            const result = spread(shares, moved, random(101), locked);
            const isFree = shares.some((_, i) => i !== moved && !locked[i]);
            const total = result.reduce((a, b) => a + b, 0);
            const isRight =
              result.every((share) => Number.isInteger(share) && share >= 0 && share <= 100) &&
              (isFree ? total === 100 : total <= 100) &&
              shares.every((share, i) => !locked[i] || result[i] === share);
            if (!isRight) wrong.push({ shares, moved, locked, result });
          }
          return wrong;
        }"""
    )
    assert wrong == []


def test_escape_closes_the_dialog_and_gives_the_focus_back(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    opener = page.locator("[data-dialog-open=traffic]")
    opener.click()
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "!!document.activeElement.closest('dialog') || document.activeElement === document.body"
        )
    page.keyboard.press("Escape")
    expect(page.locator("#traffic")).to_be_hidden()
    expect(opener).to_be_focused()


def test_deleting_asks_for_the_name_and_starts_on_cancel(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    page.get_by_role("button", name="Delete endpoint").first.click()
    dialog = page.locator("#delete")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.get_by_role("button", name="Delete endpoint")).to_be_disabled()
    dialog.get_by_label("Type credit-risk to go on").fill("credit-risk")
    expect(dialog.get_by_role("button", name="Delete endpoint")).to_be_enabled()


def test_a_menu_works_with_the_keyboard(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    button = page.get_by_label("More actions")
    button.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="Add deployment")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(page.get_by_role("link", name="Add deployment")).to_be_hidden()


def test_copying_is_announced(open_page: OpenPage, gallery_url: str) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    visit(page, gallery_url)
    page.get_by_role("button", name="Copy name").click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "credit-risk"


def test_the_language_of_code_is_remembered(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    page.get_by_role("tab", name="Python").click()
    visit(page, gallery_url)
    expect(page.get_by_role("tab", name="Python")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#consume-python-code")).to_be_visible()


def test_tabs_become_a_select_on_a_phone(open_page: OpenPage, gallery_url: str) -> None:
    page = visit(open_page(width=360), gallery_url)
    expect(page.get_by_role("link", name="Consume")).to_be_hidden()
    page.get_by_role("combobox", name="Endpoint", exact=True).select_option("Consume")
    page.wait_for_url("**/_gallery#consume")


def test_the_theme_changes_without_a_reload(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Account and theme").click()
    with page.expect_request("**/theme") as sent:
        page.get_by_role("button", name="Dark").click()
    assert sent.value.method == "POST"
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_the_palette_opens_by_key_and_says_when_nothing_matches(
    page: Page, gallery_url: str
) -> None:
    visit(page, gallery_url).keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Search pages and endpoints")
    expect(field).to_be_focused()
    field.fill("zebra")
    expect(page.get_by_text("Nothing matches these words.")).to_be_visible()


def test_the_navigation_opens_and_closes_on_a_phone(open_page: OpenPage, gallery_url: str) -> None:
    page = visit(open_page(width=360), gallery_url)
    nav = page.get_by_role("navigation", name="Main navigation")
    expect(nav).to_be_hidden()
    page.get_by_label("Open navigation").click()
    expect(nav).to_be_visible()
    page.keyboard.press("Escape")
    expect(nav).to_be_hidden()
    expect(page.get_by_label("Open navigation")).to_be_focused()


def test_editors_write_into_their_field(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    editor = page.locator(".editor").get_by_role("textbox", name="Specification")
    editor.press("Control+End")
    page.keyboard.type("tags: {}")
    assert "tags: {}" in page.locator("textarea[name=spec]").input_value()


def test_a_chart_is_a_table_too(page: Page, gallery_url: str) -> None:
    visit(page, gallery_url)
    page.get_by_role("button", name="Requests as a table").click()
    expect(page.get_by_role("cell", name="120", exact=True)).to_be_visible()


def test_the_log_folds_tracebacks_hides_health_checks_and_filters(
    page: Page, gallery_url: str
) -> None:
    visit(page, gallery_url)
    lines = page.locator(".log__line:visible")
    expect(lines).to_have_count(3)
    expect(lines.nth(2).locator("summary")).to_have_text(
        "ValueError: could not convert string to float"
    )
    page.get_by_label("Hide health checks").uncheck()
    expect(lines).to_have_count(4)
    page.get_by_label("Filter lines").fill("/^loaded .*pkl/")
    expect(lines).to_have_count(1)


def test_the_log_resumes_after_the_last_cursor(page: Page, gallery_url: str) -> None:
    """The connection is lost twice; each new one asks for what came after the last line seen."""
    asked: list[str] = []

    def serve(socket: WebSocketRoute) -> None:
        asked.append(socket.url)
        number = len(asked)
        line = {"cursor": f"c{number}", "time": "2026-03-04T08:00:00Z", "instance": "blue-1"}
        line |= {"level": "info", "source": "console", "text": f"line {number}"}
        socket.send(json.dumps({"cursor": f"c{number}", "lines": [line]}))
        if number < 3:
            socket.close()

    def connect_the_log(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace(
            'data-url=""\n         data-cursor', 'data-url="/ws/logs"\n data-cursor'
        )
        route.fulfill(response=answer, body=body)

    page.route_web_socket(re.compile("/ws/logs"), serve)
    page.route("**/_gallery", connect_the_log)
    page.goto(gallery_url)
    expect(page.locator(".log__text", has_text="line 3")).to_have_count(1)
    # The page's own lines end at cursor 4.
    assert [url.split("cursor=")[1] for url in asked] == ["4", "c1", "c2"]
    expect(page.locator(".log__text", has_text=re.compile(r"^line \d$"))).to_have_count(3)


def test_without_scripts_traffic_is_a_form_of_numbers_and_tabs_are_links(
    open_page: OpenPage, gallery_url: str
) -> None:
    page = open_page(width=360, java_script_enabled=False)
    page.goto(gallery_url)
    expect(page.get_by_role("link", name="Consume")).to_be_visible()
    expect(page.locator("textarea[name=spec]")).to_be_visible()
    expect(page.locator(".traffic__slider").first).to_be_hidden()
    page.get_by_label("More actions").click()
    expect(page.get_by_role("link", name="Export YAML")).to_be_visible()


def traffic(page: Page) -> dict[str, int]:
    """What the form would send."""
    fields = page.locator("#traffic input[type=number]")
    return {
        str(field.get_attribute("name")).removeprefix("traffic-"): int(field.input_value())
        for field in fields.all()
    }
