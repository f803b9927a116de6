"""For browser tests of a running installation: signing in, and deployments made the short way."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.house import House

SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"
# No packages: such an environment is built in a moment and without a network.
CONDA = "dependencies: [python]"
READY_MS = 90_000


def signed_in(house: House, chromium: Browser) -> Any:
    """The cookies of the administrator."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/sign-in")
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(house.admin_password)
    page.locator("input[name=password]").press("Enter")
    expect(page).to_have_url(re.compile("/w/main/"))
    state = context.storage_state()
    context.close()
    return state


def post(page: Page, path: str, **fields: str) -> Any:
    """What the form at the address sends; the page must be one of the studio's."""
    token = page.locator('meta[name="csrf-token"]').get_attribute("content") or ""
    sent: dict[str, Any] = {"csrfmiddlewaretoken": token, **fields}
    origin = page.url.split("/w/")[0]
    return page.request.post(path, form=sent, headers={"Origin": origin, "HX-Request": "true"})


def deploy(page: Page, endpoint: str, **fields: str) -> str:
    """Make the endpoint with its deployment `blue`, and return the address of its page."""
    page.goto("/w/main/endpoints")
    usual = {
        "endpoint_name": endpoint,
        "auth_mode": "key",
        "name": "blue",
        "model_source": "none",
        "code_source": "write",
        "script": SCRIPT,
        "scoring_script": "score.py",
        "environment_source": "conda",
        "conda_file": CONDA,
        "instance_type": "Standard_DS1_v2",
        "instance_count": "1",
        "request_timeout_ms": "5000",
        "max_concurrent_requests_per_instance": "1",
        "max_queue_wait_ms": "500",
    }
    reply = post(page, "/w/main/endpoints/create", **{**usual, **fields})
    assert reply.status == 200, reply.text()
    return str(reply.headers["hx-redirect"])


def remove(page: Page, endpoint: str) -> None:
    """Delete the endpoint with all it has."""
    page.goto("/w/main/endpoints")
    post(page, f"/w/main/endpoints/{endpoint}/delete", name=endpoint)


def expect_state(page: Page, state: str) -> None:
    badge = page.locator("#deployment-body [role=status]")
    expect(badge).to_have_text(re.compile(state), timeout=READY_MS)
