"""Limits of a workspace. The SDK and `az ml` only list them, so there is REST alone. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import API_VERSION, PROVIDER, Place
from portal.studio.as_code.writing import Step, pretty, rest


def set_limits(place: Place, location: str, limits: Mapping[str, int]) -> Forms:
    """`limits`: Azure's word of the quota → limit."""
    path = (
        f"{place.url}/subscriptions/{place.subscription}/providers/{PROVIDER}"
        f"/locations/{location}/updateQuotas?api-version={API_VERSION}"
    )
    wishes = [
        {"id": f"{place.arm_id}/quotas/{word}", "limit": limit} for word, limit in limits.items()
    ]
    call = f"call --request POST {shlex.quote(path)} \\\n  --data-binary @-"
    return Forms(yaml={}, rest=rest(place, Step(call, pretty({"value": wishes}), "JSON")))
