"""Where this machine gets Python packages: our own variables, else uv's configuration, else pip's."""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Options of pip, in its files and as PIP_… variables, and what the builder calls them.
PIP_WORDS = {"extra-index-url": "extra_index_urls", "find-links": "find_links"}
SYSTEM = Path("/etc")
Settings = dict[str, Any]
"""By the names of the builder's own settings; what is left out keeps its default."""


def package_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """What the builder is told; raises nothing for a configuration that cannot be read."""
    found = _of_portico(environment)
    if not {"index_url", "extra_index_urls", "find_links"} & set(found):
        found |= _of_uv(environment) or _of_pip(environment)
    ca_bundle = environment.get("PORTICO_CA_BUNDLE") or environment.get("SSL_CERT_FILE")
    if ca_bundle:
        found["ca_bundle"] = ca_bundle
    return found


def _of_portico(environment: Mapping[str, str]) -> Settings:
    return _present(
        index_url=environment.get("PORTICO_PACKAGE_INDEX_URL", ""),
        extra_index_urls=environment.get("PORTICO_PACKAGE_EXTRA_INDEX_URLS", "").split(),
        find_links=environment.get("PORTICO_PACKAGE_FIND_LINKS", "").split(),
        offline=environment.get("PORTICO_PACKAGES_OFFLINE", "").lower() in {"1", "true", "yes"},
    )


def _of_uv(environment: Mapping[str, str]) -> Settings:
    """From its variables, else from the user's or the system's `uv.toml`."""
    found = _present(
        index_url=environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL", ""),
        extra_index_urls=(
            environment.get("UV_INDEX") or environment.get("UV_EXTRA_INDEX_URL", "")
        ).split(),
        find_links=environment.get("UV_FIND_LINKS", "").replace(",", " ").split(),
        index_strategy=environment.get("UV_INDEX_STRATEGY", ""),
    )
    if found:
        return found
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (home / "uv/uv.toml", SYSTEM / "uv/uv.toml"):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        document |= document.get("pip", {})
        named = [one for one in document.get("index", []) if isinstance(one.get("url"), str)]
        default = next((one["url"] for one in named if one.get("default")), "")
        others = [one["url"] for one in named if not one.get("default")]
        return _present(
            index_url=default or document.get("index-url", ""),
            extra_index_urls=[*others, *document.get("extra-index-url", [])],
            find_links=document.get("find-links", []),
            index_strategy=document.get("index-strategy", ""),
        )
    return {}


def _of_pip(environment: Mapping[str, str]) -> Settings:
    """All its files, later ones first in rank, then its variables; the best of all indexes wins, as with pip."""
    options: dict[str, str] = {}
    for path in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= dict(parser.items(section))
    for name in ("index-url", *PIP_WORDS, "no-index"):
        value = environment.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            options[name] = value
    found = _present(
        index_url=options.get("index-url", ""),
        offline=options.get("no-index", "").lower() in {"1", "true", "yes", "on"},
        **{ours: options.get(name, "").split() for name, ours in PIP_WORDS.items()},
    )
    if "extra_index_urls" in found:
        found["index_strategy"] = "unsafe-best-match"
    return found


def _pip_files(environment: Mapping[str, str]) -> list[Path]:
    """In pip's order; the last one wins."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path.home()
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [SYSTEM / "pip.conf", home / ".pip/pip.conf", config / "pip/pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(named)] if named else files


def _present(**values: Any) -> Settings:
    return {name: value for name, value in values.items() if value}
