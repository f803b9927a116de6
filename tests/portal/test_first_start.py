"""A fresh installation is whole from its first request on."""

from __future__ import annotations

import re

import pytest

from tests.house import House

pytestmark = pytest.mark.real


def test_the_first_page_has_its_styles_and_scripts(house: House) -> None:
    page = house.get("/sign-in").read().decode()
    files = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', page)
    assert files
    for file in files:
        answer = house.get(file)
        assert answer.headers["Content-Type"].startswith("text/"), file
