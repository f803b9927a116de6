"""The authority that clients pin: where they get it, and the fingerprint by which users compare it."""

from __future__ import annotations

import ssl
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from cli import trust
from portal.certificates import ensure_server_certificate


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.CERTIFICATES_DIR = tmp_path / "certificates"
    settings.TLS_CERTIFICATE = ""
    ensure_server_certificate(settings.CERTIFICATES_DIR)
    return tmp_path / "certificates"


def test_everyone_may_fetch_the_authority_but_not_its_key(folder: Path) -> None:
    answer = Client().get("/ca.pem")
    assert answer.status_code == 200
    assert answer.content == (folder / "ca.pem").read_bytes()
    assert b"PRIVATE" not in answer.content


def test_a_portal_with_a_certificate_of_its_operator_hands_out_none(
    folder: Path, settings: Settings
) -> None:
    settings.TLS_CERTIFICATE = "/etc/portal.pem"
    assert Client().get("/ca.pem").status_code == 404


def test_server_and_client_name_the_same_fingerprint(folder: Path) -> None:
    told = StringIO()
    call_command("ca", "--fingerprint", stdout=told)
    pem = (folder / "ca.pem").read_text()
    assert told.getvalue().strip() == trust.fingerprint(pem)
    assert len(ssl.PEM_cert_to_DER_cert(pem)) > 100
