"""The create wizard and the catalog pages in a real browser, on a running installation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import OpenPage, accessibility_faults
from tests.browser.deploying import CONDA, expect_state, post, remove, signed_in
from tests.house import House

pytestmark = [pytest.mark.browser, pytest.mark.real]

CREATE = "/w/main/endpoints/create"
SCRIPT = """\
import os
from pathlib import Path
import helper

def init():
    global weight
    weight = int((Path(os.environ["AZUREML_MODEL_DIR"]) / "weights" / "deep" / "w.txt").read_text())

def run(data):
    return helper.double(weight)
"""
PAGES = {
    "create": CREATE,
    "models": "/w/main/models",
    "model": "/w/main/models/browser-model",
    "register model": "/w/main/models/register",
    "environments": "/w/main/environments",
    "environment": "/w/main/environments/browser-environment",
    "register environment": "/w/main/environments/register",
    "compute": "/w/main/compute",
    "account": "/w/main/account",
    "access": "/w/main/access",
}


@pytest.fixture(scope="module")
def state(house: House, chromium: Browser) -> Any:
    """Somebody signed in, a model and an environment."""
    cookies = signed_in(house, chromium)
    context = chromium.new_context(storage_state=cookies, base_url=house.url)
    page = context.new_page()
    page.goto("/w/main/models")
    post(
        page,
        "/w/main/environments/register",
        name="browser-environment",
        kind="conda",
        conda_file=CONDA,
    )
    page.goto("/w/main/models/register")
    page.get_by_label("Name").fill("browser-model")
    page.locator("input[type=file]").first.set_input_files(
        {"name": "m.bin", "mimeType": "application/octet-stream", "buffer": b"weights"}
    )
    page.get_by_role("button", name="Register").click()
    expect(page).to_have_url(re.compile("/models/browser-model$"))
    context.close()
    return cookies


@pytest.fixture
def studio(open_page: OpenPage, house: House, state: Any) -> Page:
    return open_page(storage_state=state, base_url=house.url)


@pytest.fixture
def refusing(chromium: Browser, house: House, state: Any) -> Iterator[Page]:
    """A page that may meet a 422, which the browser's console calls an error."""
    context = chromium.new_context(storage_state=state, base_url=house.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of model files and a folder of code."""
    model, code = tmp_path / "weights", tmp_path / "source"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "w.txt").write_text("21")
    (model / "big.bin").write_bytes(b"\0" * 3_000_000)
    code.mkdir()
    (code / "main.py").write_text(SCRIPT)
    (code / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    return model, code


def step(page: Page) -> str:
    return page.locator(".stepper [aria-current] > span:nth-child(2)").inner_text()


def go_to(page: Page, name: str) -> None:
    page.locator(".stepper__step", has_text=name).click()


def fill(page: Page, name: str, folders: tuple[Path, Path]) -> None:
    """Every step, up to the review."""
    model, code = folders
    page.goto(CREATE)
    page.get_by_label("Endpoint name").fill(name)
    page.get_by_role("button", name="Next").click()
    page.locator("#model").get_by_text("Upload", exact=True).click()
    page.locator("#id_model_files input[webkitdirectory]").set_input_files(model)
    go_to(page, "Code")
    page.locator("#code").get_by_text("Upload", exact=True).click()
    page.locator("#id_code_files input[webkitdirectory]").set_input_files(code)
    go_to(page, "Environment")
    page.locator("#environment").get_by_text("pip requirements").click()
    page.get_by_label("requirements.txt").fill("# none\n")
    page.locator("#environment").get_by_text("Registered", exact=True).click()
    page.locator("#id_environment_version").select_option("browser-environment:1")
    go_to(page, "Compute")
    page.get_by_label("Instance type").select_option("Standard_DS1_v2")
    go_to(page, "Review")


def test_from_an_empty_form_to_an_answer(
    studio: Page, house: House, folders: tuple[Path, Path]
) -> None:
    fill(studio, "from-browser", folders)
    expect(studio.get_by_label("File with init() and run()")).to_have_value("main.py")
    summary = studio.locator("[data-review-summary]")
    expect(summary).to_contain_text("from-browser")
    expect(summary).to_contain_text("2 files, 2.86 MiB")
    studio.get_by_role("button", name="Check", exact=True).click()
    expect(studio.locator("#preflight")).to_contain_text(
        re.compile("Everything that Check looks at is right|Nothing keeps it from being created")
    )
    expect(studio.locator("#preflight")).to_contain_text("2 files, sent with Create")
    studio.get_by_role("button", name="Create", exact=True).click()
    expect(studio).to_have_url(re.compile("/from-browser/deployments/blue$"))
    expect_state(studio, "Succeeded")
    expect(studio.locator("#deployment-body")).to_contain_text("live 100 %")
    studio.goto("/w/main/endpoints/from-browser")
    expect(studio.locator("main")).to_contain_text("100")
    shown = post(studio, "/w/main/endpoints/from-browser/consume/keys/primary")
    key = re.search(r"[A-Za-z0-9]{32}", shown.text())
    assert key is not None, shown.text()
    answer = httpx.post(
        f"{house.plain_scoring_url}/from-browser/score",
        json={},
        headers={"Authorization": f"Bearer {key[0]}"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()) == (200, 42)
    remove(studio, "from-browser")


def test_a_name_is_judged_while_it_is_typed(studio: Page) -> None:
    studio.goto(CREATE)
    name = studio.get_by_label("Endpoint name")
    name.press_sequentially("my_model")
    fix = studio.get_by_role("button", name="Use my-model")
    expect(fix).to_be_visible()
    expect(name).to_have_attribute("aria-invalid", "true")
    fix.click()
    expect(name).to_have_value("my-model")
    expect(fix).to_be_hidden()
    expect(studio.locator("#endpoint-url")).to_have_text(re.compile("/my-model/score$"))


def test_a_name_that_cannot_be_keeps_its_step(studio: Page) -> None:
    studio.goto(CREATE)
    name = studio.get_by_label("Endpoint name")
    name.press_sequentially("my-very-long-endpoint-name-that-goes-on")
    expect(name).to_have_value("my-very-long-endpoint-name-that-goes-on")
    studio.get_by_role("button", name="Next").click()
    assert step(studio) == "Endpoint"
    fix = studio.get_by_role("button", name="Use my-very-long")
    expect(fix).to_be_visible()
    assert fix.evaluate("it => it.scrollWidth <= it.clientWidth")
    go_to(studio, "Model")
    expect(studio.locator(".stepper__step", has_text="Endpoint")).to_have_attribute(
        "data-wrong", ""
    )
    go_to(studio, "Endpoint")
    fix.click()
    studio.get_by_role("button", name="Next").click()
    assert step(studio) == "Model"
    expect(studio.locator(".stepper__step", has_text="Endpoint")).to_have_attribute(
        "data-done", ""
    )


def test_enter_goes_on_and_never_sends_before_the_review(studio: Page) -> None:
    studio.goto(CREATE)
    sent: list[str] = []
    studio.on("request", lambda request: sent.append(request.method))
    studio.get_by_label("Endpoint name").press("Enter")
    assert step(studio) == "Model"
    go_to(studio, "Deployment")
    studio.get_by_label("Deployment name").press("Enter")
    assert step(studio) == "Code"
    go_to(studio, "Settings")
    studio.get_by_label("Request timeout").press("Enter")
    assert step(studio) == "Review"
    assert "POST" not in sent


def test_a_refusal_keeps_the_files_and_leads_to_the_field(
    refusing: Page, folders: tuple[Path, Path]
) -> None:
    page = refusing
    fill(page, "refused-here", folders)
    go_to(page, "Compute")
    page.get_by_label("Instance count").fill("500")
    go_to(page, "Review")
    page.get_by_role("button", name="Create", exact=True).click()
    problem = page.locator("#problems a")
    expect(problem).to_contain_text("from 1 to 50")
    wrong = page.locator(".stepper__step[data-wrong]")
    expect(wrong).to_have_count(1)
    expect(wrong).to_contain_text("Compute")
    problem.click()
    assert step(page) == "Compute"
    expect(page.get_by_label("Instance count")).to_be_focused()
    chosen = "input => input.files.length"
    assert page.locator("#id_model_files input[webkitdirectory]").evaluate(chosen) == 2
    assert page.request.get("/w/main/endpoints/refused-here").status == 404


def test_a_draft_survives_a_reload_without_secrets(studio: Page) -> None:
    studio.goto(CREATE)
    studio.get_by_label("Endpoint name").fill("drafted")
    go_to(studio, "Environment")
    studio.get_by_label("Environment variables").fill("KEY=topsecret")
    studio.locator("#environment").get_by_text("Curated", exact=True).click()
    go_to(studio, "Compute")
    studio.get_by_label("Instance count").fill("3")
    studio.reload()
    expect(studio.get_by_text("Your draft of this tab was restored")).to_be_visible()
    expect(studio.get_by_label("Endpoint name")).to_have_value("drafted")
    go_to(studio, "Compute")
    expect(studio.get_by_label("Instance count")).to_have_value("3")
    go_to(studio, "Environment")
    expect(studio.locator("#id_curated")).to_be_visible()
    expect(studio.get_by_label("Environment variables")).to_have_value("")
    assert "topsecret" not in studio.evaluate("JSON.stringify(sessionStorage)")
    studio.get_by_role("button", name="Start over").click()
    expect(studio.get_by_label("Endpoint name")).to_have_value("")


def test_deploy_on_the_page_of_a_model_fills_the_wizard_in(studio: Page) -> None:
    studio.goto("/w/main/models/browser-model")
    studio.get_by_role("link", name="Deploy").click()
    go_to(studio, "Model")
    expect(studio.locator("#id_model_version")).to_have_value("browser-model:1")


def test_packages_are_read_while_they_are_typed(refusing: Page) -> None:
    page = refusing
    page.goto("/w/main/environments/register")
    page.get_by_text("pip requirements").click()
    area = page.get_by_label("requirements.txt")
    area.fill("numpy==2.3")
    expect(page.locator("#environment-check")).to_contain_text("numpy==2.3")
    area.fill("numpy=2.3")
    expect(page.locator("#environment-check")).to_contain_text("not a pip requirement")


def test_an_upload_shows_its_progress_and_can_be_stopped(refusing: Page, tmp_path: Path) -> None:
    page = refusing
    large = tmp_path / "large.bin"
    with large.open("wb") as stream:
        stream.truncate(40_000_000)
    page.goto("/w/main/models/register")
    page.get_by_label("Name").fill("stopped")
    page.locator("input[type=file]").first.set_input_files(large)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {
        "offline": False,
        "latency": 0,
        "downloadThroughput": -1,
        "uploadThroughput": 4_000_000,
    }
    network.send("Network.emulateNetworkConditions", slow)
    page.get_by_role("button", name="Register").click()
    expect(page.locator("[data-upload-words]")).to_contain_text("MiB")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-upload-progress]")).to_be_hidden()
    assert page.request.get("/w/main/models/stopped").status == 404


def test_without_scripts_the_whole_form_is_there_and_creates(
    open_page: OpenPage, house: House, state: Any
) -> None:
    page = open_page(java_script_enabled=False, storage_state=state, base_url=house.url)
    page.goto(CREATE)
    page.get_by_label("Endpoint name").fill("scriptless")
    page.locator("#model").get_by_text("No model", exact=True).click()
    page.locator("#id_script").fill("def init(): pass\n\ndef run(data): return 1\n")
    page.locator("#id_conda_file").fill(CONDA)
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile("/scriptless/deployments/blue$"))
    remove(page, "scriptless")


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_use_the_page(
    open_page: OpenPage, house: House, state: Any, name: str
) -> None:
    """axe finds nothing, light and dark; on a phone nothing is wider than the screen."""
    for theme in ("light", "dark"):
        page = open_page(theme=theme, storage_state=state, base_url=house.url)
        page.goto(PAGES[name])
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert accessibility_faults(page) == []
    phone = open_page(width=360, storage_state=state, base_url=house.url)
    phone.goto(PAGES[name])
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360


def test_everybody_can_use_every_step(open_page: OpenPage, house: House, state: Any) -> None:
    page = open_page(theme="dark", storage_state=state, base_url=house.url)
    page.goto(CREATE)
    for name in ("Model", "Deployment", "Code", "Environment", "Compute", "Settings", "Review"):
        go_to(page, name)
        assert accessibility_faults(page) == [], name
    phone = open_page(width=360, storage_state=state, base_url=house.url)
    phone.goto(CREATE)
    while step(phone) != "Review":
        phone.get_by_role("button", name="Next").click()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360, step(phone)
