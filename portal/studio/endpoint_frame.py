"""What the head of every tab of an endpoint shows: name, health, tabs, and what this user may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from endpoints.models import OnlineEndpoint
from monitoring.overview import failures
from portal.studio.health import NO_FAILURES, facts_of, health_of
from portal.studio.scope import StudioRequest
from workspaces import access

TABS: tuple[tuple[str, str | Promise, str], ...] = (
    ("details", _("Details"), "studio:endpoint"),
    ("test", _("Test"), "studio:test"),
    ("consume", _("Consume"), "studio:consume"),
    ("monitoring", _("Monitoring"), "studio:monitoring"),
    ("logs", _("Logs"), "studio:logs"),
    ("activity", _("Activity"), "studio:endpoint_activity"),
)

AUTH_LABELS = {
    OnlineEndpoint.AuthMode.KEY: _("Key"),
    OnlineEndpoint.AuthMode.AML_TOKEN: _("Token"),
    OnlineEndpoint.AuthMode.AAD_TOKEN: _("Directory token"),
}


@dataclass(frozen=True)
class Tab:
    name: str
    label: str | Promise
    url: str
    is_current: bool


@dataclass(frozen=True)
class Rights:
    """What the user's role allows here; a page leaves out the buttons of the rest."""

    write: bool
    delete: bool
    score: bool
    keys: bool
    logs: bool
    deploy: bool


def rights_of(role: str) -> Rights:
    return Rights(
        write=access.role_may(role, "onlineEndpoints/write"),
        delete=access.role_may(role, "onlineEndpoints/delete"),
        score=access.role_may(role, "onlineEndpoints/score/action"),
        keys=access.role_may(role, "onlineEndpoints/listKeys/action"),
        logs=access.role_may(role, "onlineEndpoints/deployments/getLogs/action"),
        deploy=access.role_may(role, "onlineEndpoints/deployments/write"),
    )


def frame(request: StudioRequest, endpoint: OnlineEndpoint, tab: str) -> dict[str, Any]:
    """The context of `endpoints/_endpoint_page.html`; two queries."""
    facts = facts_of([endpoint.pk])[endpoint.pk]
    failed = failures([endpoint.pk]).get(endpoint.pk, NO_FAILURES)
    address = [request.workspace.name, endpoint.name]
    can = rights_of(request.role)
    return {
        "endpoint": endpoint,
        "deployments_facts": facts,
        "deployment_names": [item.name for item in facts],
        "health": health_of(endpoint.state, endpoint.traffic, facts, failed),
        "is_busy": endpoint.is_busy or any(item.is_busy for item in facts),
        "tab": tab,
        "tabs": [
            Tab(name, label, reverse(url, args=address), name == tab)
            for name, label, url in TABS
            if name != "logs" or can.logs
        ],
        "can": can,
    }
