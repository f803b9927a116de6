"""`python -m deployments.images`: makes one image for a program that cannot import the house.

On standard input one JSON object: `root`, `installation` and `engine` (`url`, `cert_path`, `tls_verify`); `settings`
by the names of `EnvironmentSettings`; `spec` with `image`, `context`, `dockerfile`, `is_custom` by the names of
`ImageSpec` and `environment` by those of `EnvironmentSpec`. On standard output one JSON object per line: `log` while it
works, at the end `built` or `failed`. Needs no Django, no database and no portal.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from deployments.environments.orders import Order, log, serve, settings_of, spec_of
from deployments.environments.store import EnvironmentStore
from deployments.images.settings import ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from deployments.runtimes.docker.addresses import EngineAddress


def main() -> int:
    """0 once the image is there, 1 when it cannot be made, 130 after Ctrl-C."""
    return serve("built", _build)


def _build(order: Order) -> dict[str, Any]:
    root, packages = Path(order["root"]), settings_of(order.get("settings", {}))
    store = ImageStore(
        root / "images",
        ImageSettings(
            installation=order["installation"],
            address=EngineAddress("docker", **order["engine"]),
            base_image=order.get("base_image", ""),
            packages=packages,
        ),
        EnvironmentStore(root / "environments", packages).interpreters,
    )
    built = store.build(_spec(order["spec"]), log=log)
    return {
        "reference": built.reference,
        "python": built.python,
        "warnings": list(built.warnings),
        "was_cached": built.was_cached,
    }


def _spec(values: dict[str, Any]) -> ImageSpec:
    context = Path(values["context"]) if values.get("context") else None
    wanted = values.get("environment")
    return ImageSpec(
        image=values.get("image", ""),
        environment=spec_of(wanted) if wanted is not None else None,
        context=context,
        context_hash=content_hash(context) if context else "",
        dockerfile=values.get("dockerfile") or "Dockerfile",
        is_custom=bool(values.get("is_custom")),
    )


def content_hash(folder: Path) -> str:
    """Of names, rights and bytes of all files below, and of where links lead."""
    content = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*names, *(one for one in folders if Path(place, one).is_symlink())]):
            path = Path(place, name)
            content.update(f"{path.relative_to(folder)}\0{path.lstat().st_mode:o}\0".encode())
            if path.is_symlink():
                content.update(os.readlink(path).encode())
            elif path.is_file():
                with path.open("rb") as file:
                    content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
