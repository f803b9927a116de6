"""Where local builds get packages from."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.local.packages import package_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any configuration; that of the machine stays out of it, too."""
    monkeypatch.setattr("cli.local.packages.SYSTEM", tmp_path / "etc")
    monkeypatch.setattr("cli.local.packages.sys.prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_any_configuration_the_builder_keeps_its_defaults() -> None:
    assert package_settings({}) == {}


def test_our_own_variables_go_first(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://pip.example/simple\n")
    found = package_settings(
        {
            "PORTICO_PACKAGE_INDEX_URL": "https://ours.example/simple",
            "UV_DEFAULT_INDEX": "https://uv.example/simple",
        }
    )
    assert found == {"index_url": "https://ours.example/simple"}


def test_variables_of_uv_go_before_its_file_and_before_pip(home: Path) -> None:
    write(home / ".config/uv/uv.toml", 'index-url = "https://file.example/simple"\n')
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://pip.example/simple\n")
    assert package_settings({"UV_INDEX": "https://a.example https://b.example"}) == {
        "extra_index_urls": ["https://a.example", "https://b.example"]
    }
    assert package_settings({}) == {"index_url": "https://file.example/simple"}


def test_named_indexes_of_uv_are_read(home: Path) -> None:
    write(
        home / "etc/uv/uv.toml",
        '[[index]]\nname = "ours"\nurl = "https://ours.example"\n'
        '[[index]]\nurl = "https://main.example"\ndefault = true\n'
        '[pip]\nindex-strategy = "unsafe-best-match"\n',
    )
    assert package_settings({}) == {
        "index_url": "https://main.example",
        "extra_index_urls": ["https://ours.example"],
        "index_strategy": "unsafe-best-match",
    }


def test_further_indexes_of_pip_are_taken_as_pip_takes_them(home: Path) -> None:
    write(home / "etc/pip.conf", "[global]\nindex-url = https://old.example\n")
    write(
        home / ".config/pip/pip.conf",
        "[global]\nindex-url = https://pip.example\nextra-index-url =\n  https://a.example\n  https://b.example\n",
    )
    assert package_settings({"PIP_FIND_LINKS": "/srv/wheels"}) == {
        "index_url": "https://pip.example",
        "extra_index_urls": ["https://a.example", "https://b.example"],
        "find_links": ["/srv/wheels"],
        "index_strategy": "unsafe-best-match",
    }


def test_a_machine_without_an_index_builds_offline(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nno-index = true\nfind-links = /srv/wheels\n")
    assert package_settings({}) == {"offline": True, "find_links": ["/srv/wheels"]}


def test_a_configuration_that_cannot_be_read_is_passed_over(home: Path) -> None:
    write(home / ".config/uv/uv.toml", "index-url = \n")
    write(home / ".config/pip/pip.conf", "index-url without a section\n")
    assert package_settings({}) == {}


def test_pip_can_be_told_to_read_no_file(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://pip.example\n")
    assert package_settings({"PIP_CONFIG_FILE": "/dev/null"}) == {}


def test_the_machines_certificates_are_trusted() -> None:
    assert package_settings({"SSL_CERT_FILE": "/etc/ca.pem"}) == {"ca_bundle": "/etc/ca.pem"}
    both = {"SSL_CERT_FILE": "/etc/ca.pem", "PORTICO_CA_BUNDLE": "/srv/ca.pem"}
    assert package_settings(both) == {"ca_bundle": "/srv/ca.pem"}
