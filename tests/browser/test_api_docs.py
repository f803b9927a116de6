"""The page of the REST API in a real browser: from our own files alone, under the studio's policy."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from api.schemas.document import FAMILIES
from tests.browser.conftest import OpenPage, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def docs_url() -> Iterator[str]:
    with served("portal.urls") as origin:
        yield f"{origin}/api/docs"


def visit(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.locator(".opblock-tag").first).to_be_visible(timeout=30_000)
    return page


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 1440), ("dark", 360)])
def test_it_shows_every_family_without_a_refusal_or_sideways_scrolling(
    open_page: OpenPage, docs_url: str, theme: str, width: int
) -> None:
    page = open_page(theme=theme, width=width)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, docs_url)
    expect(page.locator(".opblock-tag")).to_have_count(len(FAMILIES))
    page.get_by_role("link", name="Computes", exact=True).click()
    page.locator(".opblock-put").first.click()
    expect(page.get_by_text("Request body").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    is_dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
    assert is_dark == (theme == "dark")
    own = urlsplit(docs_url).netloc
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {own}
    page.screenshot(path=f"/tmp/docs-{theme}-{width}.png")
