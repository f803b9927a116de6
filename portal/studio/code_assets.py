"""From the forms that register models, environments and data to the plain values that `as_code` writes down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from portal.studio.as_code import assets
from portal.studio.as_code.values import Data, Environment, Local, Model
from portal.studio.code_part import place_of, samples_of
from portal.studio.code_values import packages_of, uploaded
from portal.studio.intake import paths_of
from portal.studio.scope import StudioRequest
from workspaces import catalog
from workspaces.models import DataVersion, EnvironmentVersion, ModelVersion


def typed_model(request: StudioRequest) -> Model:
    name = _name(request, "my-model")
    return Model(
        name,
        uploaded(paths_of(request, "files"), folder="model"),
        type=_text(request, "type") or ModelVersion.Type.CUSTOM,
        version=_text(request, "version"),
        description=_text(request, "description"),
        next_version=next_version(request, ModelVersion, "model", name),
    )


def typed_environment(request: StudioRequest, typed: Mapping[str, Any]) -> Environment:
    """`typed` is what the page shows, which on the first visit is a template."""
    name = _name(request, "my-environment")
    kind = typed.get("kind", "conda")
    wanted = {
        "conda": ("image", "conda_file"),
        "requirements": ("requirements",),
        "image": ("image",),
    }
    facts = {
        key: str(typed.get(key, "")).replace("\r\n", "\n").strip() for key in wanted.get(kind, ())
    }
    return Environment(
        name,
        packages_of(catalog.unsaved_environment(**facts)),
        version=_text(request, "version"),
        description=_text(request, "description"),
        next_version=next_version(request, EnvironmentVersion, "environment", name),
    )


def typed_data(request: StudioRequest) -> Data:
    name = _name(request, "my-data")
    source: str | Local = uploaded(paths_of(request, "files"), folder="data")
    if _text(request, "source") == "address":
        source = _text(request, "address") or "https://example.com/data.csv"
    is_folder = source.is_folder if isinstance(source, Local) else source.endswith("/")
    usual = DataVersion.Type.FOLDER if is_folder else DataVersion.Type.FILE
    return Data(
        name,
        source,
        type=_text(request, "type") or usual,
        version=_text(request, "version"),
        description=_text(request, "description"),
        next_version=next_version(request, DataVersion, "data", name),
    )


def next_version(request: StudioRequest, version_class: Any, kind: str, name: str) -> str:
    """The number that a registration without a version would take."""
    rows = version_class.objects.filter(
        **{f"{kind}__workspace": request.workspace, f"{kind}__name": name}
    )
    numbers = rows.filter(version__regex=r"^[0-9]{1,9}$").values_list("version", flat=True)
    return str(max(map(int, numbers), default=0) + 1)


def _name(request: StudioRequest, otherwise: str) -> str:
    return _text(request, "name") or request.GET.get("name", "") or otherwise


def _text(request: StudioRequest, name: str) -> str:
    return str(request.POST.get(name, "")).replace("\r\n", "\n").strip()


def archive_part(request: StudioRequest, kind: str, asset: Any) -> dict[str, Any]:
    """For the page of an asset: archiving it, or bringing it back, as code."""
    is_back = asset.archived_at is not None
    forms = assets.archive(place_of(request), kind, asset.name, is_back=is_back)
    title = _("View restoring as code") if is_back else _("View archiving as code")
    return {"code_samples": samples_of(request, forms), "code_title": title}
