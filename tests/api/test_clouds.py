"""Portico as a cloud of its own: what the SDK reads of `ARM_CLOUD_METADATA_URL`."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

ADDRESS = "/metadata/endpoints"


def ask(host: str, address: str = ADDRESS, *, secure: bool = True) -> Any:
    return Client(headers={"host": host}).get(
        f"{address}?api-version=2019-05-01", secure=secure, headers={"host": host}
    )


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/"])
@pytest.mark.parametrize("host", ["localhost:8443", "portico.example.com", "10.1.2.3:9000"])
def test_each_host_hears_of_itself_without_a_token(
    settings: Settings, host: str, address: str
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    [cloud] = ask(host, address).json()
    # This is how the SDK knows which cloud is meant.
    assert cloud["resourceManager"] in f"https://{host}{address}?api-version=2019-05-01"
    assert cloud["authentication"]["loginEndpoint"] == f"https://{host}"
    assert cloud["suffixes"]["storage"] == "core.windows.net"
    ending = ".".join(cloud["portal"].split(".")[2:]).replace("/", "")
    assert f"https://ml.azure.{ending}" == "https://ml.azure.com"


def test_who_comes_without_tls_is_told_the_address_that_has_it(settings: Settings) -> None:
    settings.PORTICO_HOST, settings.PORTICO_TLS_PORT = "portico.example.com", 8443
    [cloud] = ask("localhost:8000", secure=False).json()
    assert cloud["resourceManager"] == "https://portico.example.com:8443/"


def test_the_answer_may_be_kept_for_a_while_by_host(settings: Settings) -> None:
    answer = ask("localhost")
    assert answer["Cache-Control"] == "max-age=300"
    assert "Host" in answer["Vary"]


def test_foreign_names_are_refused() -> None:
    assert ask("evil.example.com").status_code == 400
