"""The `identity` of a resource, as Azure says it and as we do."""

from __future__ import annotations

from typing import Any

from api.arm import Json, word_of
from api.bodies import Body

KINDS: dict[str, str] = {
    "SystemAssigned": "system_assigned",
    "UserAssigned": "user_assigned",
}
SYSTEM_ASSIGNED = {"type": "system_assigned"}


def parse_identity(body: Body, default: dict[str, Any]) -> dict[str, Any]:
    if not body.has("identity"):
        return default
    section = body.section("identity")
    kind = section.choice("type", KINDS, "system_assigned")
    if kind == "system_assigned":
        return SYSTEM_ASSIGNED
    assigned = section.mapping("userAssignedIdentities", {})
    return {"type": kind, "user_assigned_identities": [{"resource_id": name} for name in assigned]}


def present_identity(identity: dict[str, Any]) -> Json:
    kind = identity.get("type", "system_assigned")
    told: Json = {"type": word_of(KINDS, kind)}
    assigned = identity.get("user_assigned_identities", [])
    if assigned:
        told["userAssignedIdentities"] = {
            item["resource_id"] if isinstance(item, dict) else item: {} for item in assigned
        }
    return told
