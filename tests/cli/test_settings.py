"""Defaults that stay, in the file of az's form."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import settings
from cli.faults import UsageFault


def test_configured_defaults_stay_until_they_are_taken_away(own_folder: Path) -> None:
    settings.configure(["group=portico", "workspace=main"])
    assert "workspace = main" in (own_folder / "config").read_text()
    assert (settings.default("group"), settings.default("workspace")) == ("portico", "main")
    settings.configure(["workspace="])
    assert (settings.default("group"), settings.default("workspace")) == ("portico", "")
    settings.configure([""])
    assert settings.configure(list_defaults=True) == []


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.configure(["workspace=main"])
    monkeypatch.setenv("PORTICO_DEFAULTS_WORKSPACE", "other")
    assert settings.default("workspace") == "other"


def test_config_set_get_and_unset() -> None:
    settings.config_set(["defaults.workspace=50%", "core.output=table"])
    assert settings.config_get("defaults.workspace")["value"] == "50%"
    assert set(settings.config_get()) == {"defaults", "core"}
    settings.config_unset(["core.output"])
    with pytest.raises(UsageFault, match=r"'core.output' is not configured"):
        settings.config_get("core.output")


@pytest.mark.parametrize("text", ["workspace", "=main"])
def test_a_default_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(UsageFault, match="name=value"):
        settings.configure([text])
