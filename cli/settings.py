"""Defaults that stay: `configure --defaults`, `config set|get|unset`, in `~/.portico/config` as az keeps its own."""

from __future__ import annotations

from typing import Any

from knack.config import CLIConfig

from cli import profiles
from cli.faults import UsageFault

DEFAULTS = "defaults"
PREFIX = "PORTICO"


def config() -> CLIConfig:
    """`PORTICO_DEFAULTS_GROUP` and the like go before the file; a `.portico/config` further down the tree, too."""
    return CLIConfig(config_dir=str(profiles.folder()), config_env_var_prefix=PREFIX)


def default(name: str) -> str:
    """`group`, `workspace` and the like; empty when it was not configured."""
    return str(config().get(DEFAULTS, name, ""))


def configure(
    defaults: list[str] | None = None, list_defaults: bool = False, scope: str = "global"
) -> Any:
    """`name=value` sets, `name=` takes away, `''` takes all away."""
    found = config()
    found.set_to_use_local_config(scope == "local")
    if defaults is not None:
        for name in [row["name"] for row in found.items(DEFAULTS)] if defaults == [""] else []:
            found.remove_option(DEFAULTS, name)
        for name, value in (_pair(text) for text in defaults if text):
            _set(found, DEFAULTS, name, value)
    if list_defaults or defaults is None:
        return found.items(DEFAULTS)
    return None


def config_set(pairs: list[str], local: bool = False) -> None:
    """`section.name=value`."""
    found = config()
    found.set_to_use_local_config(local)
    for name, value in map(_pair, pairs):
        _set(found, *_place(name), value)


def config_get(name: str | None = None, local: bool = False) -> Any:
    found = config()
    found.set_to_use_local_config(local)
    if name is None:
        return {section: found.items(section) for section in found.sections()}
    section, _, option = name.partition(".")
    if not option:
        return found.items(section)
    for row in found.items(section):
        if row["name"] == option:
            return row
    raise UsageFault(f"'{name}' is not configured.")


def config_unset(names: list[str], local: bool = False) -> None:
    found = config()
    found.set_to_use_local_config(local)
    for name in names:
        found.remove_option(*_place(name))


def _set(found: CLIConfig, section: str, name: str, value: str) -> None:
    if value:
        # ConfigParser would take a percent sign for a reference to another value.
        found.set_value(section, name, value.replace("%", "%%"))
    else:
        found.remove_option(section, name)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageFault(f"'{text}' must be name=value, such as workspace=main.")
    return name.strip(), value.strip()


def _place(name: str) -> tuple[str, str]:
    section, _, option = name.partition(".")
    if not option:
        raise UsageFault(f"'{name}' must be section.name, such as defaults.workspace.")
    return section, option
