"""The code of the tab “Consume” is run as it stands, against a real gateway, with the key of the same page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.house import House

pytestmark = pytest.mark.real
PAGE = "/w/main/endpoints/diabetes/consume"
TOKEN_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@pytest.fixture(scope="module")
def studio(house: House) -> Iterator[httpx.Client]:
    """A signed-in browser without scripts, and the sample endpoint."""
    done = house.run("sample")
    assert done.returncode == 0, done.stdout + done.stderr
    with httpx.Client(base_url=house.url, follow_redirects=True, trust_env=False) as client:
        fields = {"username": "admin", "password": house.admin_password}
        page = post(client, "/sign-in", "/sign-in", fields)
        assert page.status_code == 200
        yield client


def post(client: httpx.Client, form: str, to: str, fields: dict[str, str]) -> httpx.Response:
    """Send a form as a browser does: with the token of the page it is on."""
    found = TOKEN_FIELD.search(client.get(form).text)
    assert found is not None
    return client.post(
        to,
        data={"csrfmiddlewaretoken": found[1], **fields},
        headers={"Referer": str(client.base_url) + form},
    )


def code(studio: httpx.Client, language: str) -> str:
    """The sample of the page with the key that the page shows."""
    shown = post(studio, PAGE, f"{PAGE}/keys/primary", {}).text
    key = re.search(r"<output[^>]*>\s*([A-Za-z0-9]{32})\s*</output>", shown)
    text = re.search(rf'<code id="consume-code-{language}-code">(.*?)</code>', shown, re.S)
    assert key is not None
    assert text is not None
    return html.unescape(text[1]).replace("<your key>", key[1])


def run(*words: str | Path, **variables: str) -> list[float]:
    done = subprocess.run(
        [*words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scored: list[float] = json.loads(done.stdout)
    return scored


def assert_predictions(scored: list[float]) -> None:
    """One of the model's range for each row; how many rows, depends on what was tested last."""
    assert scored
    assert all(25 < one < 350 for one in scored)


def test_the_curl_command_scores(studio: httpx.Client, tmp_path: Path) -> None:
    script = tmp_path / "score.sh"
    script.write_text(code(studio, "curl"))
    assert_predictions(run("sh", script))


def test_the_python_program_scores(studio: httpx.Client, tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text(code(studio, "python"))
    # Isolated: it needs nothing but the standard library.
    assert_predictions(run(sys.executable, "-I", script))


def test_the_javascript_program_scores(studio: httpx.Client, house: House, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    script = tmp_path / "score.mjs"
    script.write_text(code(studio, "javascript"))
    assert_predictions(run(node, script, NODE_EXTRA_CA_CERTS=str(house.ca_path)))


def test_a_wrong_key_ends_the_program_with_the_reason(
    studio: httpx.Client, tmp_path: Path
) -> None:
    script = tmp_path / "score.py"
    wrong = re.sub(r"Bearer \w{32}", "Bearer wrong-key-wrong-key", code(studio, "python"))
    script.write_text(wrong)
    done = subprocess.run(
        [sys.executable, "-I", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "401" in done.stderr


def test_the_test_tab_scores_through_the_gateway(studio: httpx.Client) -> None:
    form = "/w/main/endpoints/diabetes/test"
    fields = {"mode": "json", "json": '{"data": [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87]]}'}
    page = post(studio, form, f"{form}/send", {**fields, "deployment": "green"})
    assert "200 OK" in page.text
    bad = post(studio, form, f"{form}/send", {"mode": "json", "json": '{"data": "bad"}'})
    assert "The model returned 500." in bad.text
