"""What the frame around every page shows: navigation, workspaces, theme, banners."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from redis.exceptions import RedisError

from monitoring import heartbeat
from portal.pages import waiting_toasts
from workspaces import access
from workspaces.models import Role, Workspace

DISK_FULL_PERCENT = 85

# label, icon, URL name, key of the shortcut `g <key>`. An entry shows only if its page exists.
NAVIGATION: Sequence[tuple[Promise, str, str, str]] = (
    (gettext_lazy("Overview"), "home", "studio:overview", "o"),
    (gettext_lazy("Endpoints"), "plug-connected", "studio:endpoints", "e"),
    (gettext_lazy("Batch endpoints"), "versions", "studio:batch_endpoints", "t"),
    (gettext_lazy("Models"), "cube", "studio:models", "m"),
    (gettext_lazy("Environments"), "stack-2", "studio:environments", "v"),
    (gettext_lazy("Data"), "database", "studio:data", "d"),
    (gettext_lazy("Components"), "box", "studio:components", "b"),
    (gettext_lazy("Compute"), "cpu", "studio:compute", "c"),
    (gettext_lazy("Activity"), "activity", "studio:activity", "a"),
)


@dataclass(frozen=True)
class NavigationItem:
    label: str | Promise
    icon: str
    url: str
    key: str = ""
    is_current: bool = False


@dataclass(frozen=True)
class Banner:
    """One sentence across the page; the most severe is shown."""

    level: str
    text: str


def shell(request: HttpRequest) -> dict[str, Any]:
    """Everything the frame needs, worked out only if a template asks: a part costs no query."""
    return {"shell": Shell(request)}


class Shell:
    version = settings.VERSION

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @cached_property
    def user(self) -> Any:
        """The signed-in user, or None."""
        user = getattr(self.request, "user", None)
        return user if user is not None and user.is_authenticated else None

    @cached_property
    def theme(self) -> str:
        """`light`, `dark` or `system`."""
        return str(self.user.theme) if self.user else "system"

    @cached_property
    def nav_is_narrow(self) -> bool:
        """Whether this browser shows the navigation as icons."""
        return self.request.COOKIES.get("nav") == "narrow"

    @cached_property
    def node(self) -> str:
        return socket.gethostname()

    @cached_property
    def workspaces(self) -> list[Workspace]:
        """Those the user may enter, by name."""
        return list(Workspace.objects.visible_to(self.user)) if self.user else []

    @cached_property
    def workspace(self) -> Workspace | None:
        """The one of this address, else the one visited last, else the first."""
        chosen = getattr(self.request, "workspace", None)
        if isinstance(chosen, Workspace):
            return chosen
        wanted = self._address_workspace or (self.user and self.request.session.get("workspace"))
        by_name = {workspace.name: workspace for workspace in self.workspaces}
        return by_name.get(wanted or "") or next(iter(self.workspaces), None)

    @cached_property
    def navigation(self) -> list[NavigationItem]:
        if self.workspace is None:
            return []
        items = [
            NavigationItem(label, icon, url, key, self._is_current(url, name))
            for label, icon, name, key in NAVIGATION
            if (url := self._url(name))
        ]
        admin = url_or_none("admin:index")
        if self.user.is_staff and admin:
            items.append(NavigationItem(gettext_lazy("Admin"), "shield-lock", admin))
        return items

    @cached_property
    def switcher(self) -> list[NavigationItem]:
        """The other workspaces' overviews."""
        return [
            NavigationItem(
                workspace.display_name or workspace.name,
                "building-arch",
                url_or_none("studio:overview", workspace=workspace.name) or "",
                is_current=workspace == self.workspace,
            )
            for workspace in self.workspaces
        ]

    @cached_property
    def role(self) -> str:
        """The user's role in the workspace; empty for a stranger."""
        if self.workspace is None:
            return ""
        return (
            getattr(self.request, "role", None) or access.role_of(self.user, self.workspace) or ""
        )

    @cached_property
    def may_write(self) -> bool:
        """Whether buttons that change endpoints are worth showing; the view decides."""
        return self.role not in {"", Role.READER}

    @cached_property
    def palette_url(self) -> str:
        return self._url("studio:palette")

    @cached_property
    def operations_url(self) -> str:
        return self._url("studio:operations")

    @cached_property
    def account_url(self) -> str:
        return self._url("studio:account")

    @cached_property
    def members_url(self) -> str:
        return self._url("studio:members")

    @cached_property
    def create_url(self) -> str:
        return self._url("studio:create_endpoint")

    @cached_property
    def toasts(self) -> list[dict[str, Any]]:
        return waiting_toasts(self.request)

    @cached_property
    def banner(self) -> Banner | None:
        """The one banner that matters most; pages may put theirs on the request as `banner`."""
        return (
            getattr(self.request, "banner", None)
            or (silence_banner() if self.user else None)
            or disk_banner()
        )

    @property
    def _address_workspace(self) -> str:
        match = self.request.resolver_match
        return str(match.kwargs.get("workspace", "")) if match else ""

    def _url(self, name: str) -> str:
        if self.workspace is None:
            return ""
        return url_or_none(name, workspace=self.workspace.name) or ""

    def _is_current(self, url: str, name: str) -> bool:
        path = self.request.path
        if name == "studio:overview":
            return path == url
        return path == url or path.startswith(f"{url}/")


def url_or_none(name: str, **kwargs: str) -> str | None:
    """The page's address, or None while there is no such page."""
    try:
        return reverse(name, kwargs=kwargs)
    except NoReverseMatch:
        return None


def silence_banner() -> Banner | None:
    """Says that the background worker is not heard of; asked of the database every ten seconds at most."""
    try:
        names = cache.get("silent")
        if names is None:
            names = [item.name for item in heartbeat.silent()]
            cache.set("silent", names, 10)
    except RedisError:
        names = [heartbeat.WORKER]
    if heartbeat.WORKER in names:
        text = _(
            "The background worker is not responding. Changes are saved and will start when it returns."
        )
    elif heartbeat.WATCH in names:
        text = _("Logs and charts are not being updated at the moment. Scoring goes on.")
    else:
        return None
    return Banner("warning", text)


def disk_banner() -> Banner | None:
    """A warning when the disk under Portico's home fills up."""
    try:
        usage = shutil.disk_usage(settings.PORTICO_HOME)
    except OSError:
        return None
    percent = round(100 * usage.used / usage.total)
    if percent <= DISK_FULL_PERCENT:
        return None
    return Banner(
        "warning",
        _("The disk is %(percent)s %% full. Remove models or environments that are not used.")
        % {"percent": percent},
    )
