"""Computes and batch endpoints in a real browser: nobody is left out, and a deployment is made by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

ENDPOINT = "/w/main/batch-endpoints/browser-batch"
PAGES = {
    "list": "/w/main/batch-endpoints",
    "create": "/w/main/batch-endpoints/create",
    "endpoint": ENDPOINT,
    "edit": f"{ENDPOINT}/edit",
    "deployment": f"{ENDPOINT}/deployments/create",
    "edit deployment": f"{ENDPOINT}/deployments/blue/edit",
    "computes": "/w/main/compute",
    "compute": "/w/main/compute/create",
    "edit compute": "/w/main/compute/cpu-cluster/edit",
}
MAKE = """
import io
from deployments.models import BatchDeployment
from endpoints.batch import BatchEndpointSpec, create_batch_endpoint
from workspaces import catalog, storage
from workspaces.models import Workspace
workspace = Workspace.objects.get(name="main")
content = storage.put_tree([("weights.json", io.BytesIO(b"{}"))])
model = catalog.register_model(
    workspace, "browser-weights", content, leaf="weights.json", is_folder=False, by=None
)
endpoint = create_batch_endpoint(workspace, BatchEndpointSpec(name="browser-batch"), by=None)
BatchDeployment.objects.create(
    endpoint=endpoint, name="blue", model_version=model, compute="cpu-cluster"
)
"""
CLEAR = """
from endpoints.models import BatchEndpoint
from workspaces.models import Model
BatchEndpoint.objects.filter(name="browser-batch").delete()
Model.objects.filter(name="browser-weights").delete()
"""


@pytest.fixture(scope="module")
def state(house: House, chromium: Browser) -> Iterator[Any]:
    """The cookies of somebody signed in, and an endpoint with a deployment."""
    done = house.run("shell", "-c", MAKE)
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
    house.run("shell", "-c", CLEAR)


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_use_the_page(
    open_page: OpenPage, house: House, state: Any, name: str
) -> None:
    """axe finds nothing, light and dark; on a phone nothing is wider than the screen; no script is needed."""
    for theme in ("light", "dark"):
        page = open_page(theme=theme, storage_state=state, base_url=house.url)
        page.goto(PAGES[name])
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert accessibility_faults(page) == []
    phone = open_page(width=360, storage_state=state, base_url=house.url)
    phone.goto(PAGES[name])
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    plain = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    reply = plain.goto(PAGES[name])
    assert reply is not None
    assert reply.status == 200


def test_a_deployment_is_made_and_deleted(open_page: OpenPage, house: House, state: Any) -> None:
    page = open_page(storage_state=state, base_url=house.url)
    page.goto(ENDPOINT)
    page.get_by_role("link", name="Add a deployment").click()
    page.get_by_label("Deployment name").fill("green")
    page.get_by_label("Model", exact=True).select_option("browser-weights:1")
    page.locator("#id_environment_version").select_option(index=1)
    page.get_by_label("Compute", exact=True).select_option("cpu-cluster")
    page.get_by_role("button", name="Create").click()
    expect(page).to_have_url(re.compile(f"{ENDPOINT}$"))
    expect(page.locator(".toast-item")).to_contain_text("Deployment green was created.")
    page.get_by_role("button", name="Delete green").click()
    page.get_by_role("button", name="Delete deployment").click()
    expect(page.get_by_role("button", name="Delete green")).to_have_count(0)
