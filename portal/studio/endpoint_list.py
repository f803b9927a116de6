"""The list of real-time endpoints: filters, order and page are in the address; the worst come first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django_filters
import django_tables2 as tables
from django import forms
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from endpoints.changes import delete_endpoint
from endpoints.models import OnlineEndpoint
from monitoring.overview import failures
from portal.pages import go, render_page, toast
from portal.studio import figures
from portal.studio.as_code import online
from portal.studio.code_part import place_of, samples_of
from portal.studio.code_values import endpoint_of
from portal.studio.endpoint_frame import AUTH_LABELS, rights_of
from portal.studio.health import (
    DEGRADED,
    DELETING,
    EMPTY,
    HEALTHY,
    NO_FAILURES,
    STARTING,
    UNHEALTHY,
    DeploymentFacts,
    Health,
    facts_of,
    health_of,
)
from portal.studio.scope import StudioRequest, studio_page
from workspaces.models import User

PER_PAGE = 50
HEALTH_LABELS = {
    UNHEALTHY: gettext_lazy("Unhealthy"),
    DEGRADED: gettext_lazy("Degraded"),
    STARTING: gettext_lazy("Starting"),
    HEALTHY: gettext_lazy("Healthy"),
    EMPTY: gettext_lazy("No deployments"),
    DELETING: gettext_lazy("Deleting"),
}


@dataclass
class Row:
    """One endpoint in the list; its figures come once its page is known."""

    id: int
    name: str
    traffic: dict[str, int]
    mirror_traffic: dict[str, int]
    auth_mode: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    health: Health
    deployments: Sequence[DeploymentFacts]
    failed_percent: float = 0.0
    """Of its requests in the last 15 minutes."""
    figures: figures.Figures = figures.NONE

    @property
    def rank(self) -> int:
        return self.health.rank

    @property
    def sort_name(self) -> str:
        return self.name.lower()

    @property
    def auth_label(self) -> str:
        return str(AUTH_LABELS.get(OnlineEndpoint.AuthMode(self.auth_mode), self.auth_mode))

    @property
    def scoring_uri(self) -> str:
        return OnlineEndpoint(name=self.name).scoring_uri

    @property
    def is_busy(self) -> bool:
        return self.health.word == DELETING or any(item.is_busy for item in self.deployments)

    @property
    def shares(self) -> list[dict[str, Any]]:
        """The deployments for the small traffic bar."""
        return [
            {
                "name": item.name,
                "live": self.traffic.get(item.name, 0),
                "mirrored": self.mirror_traffic.get(item.name, 0),
            }
            for item in self.deployments
        ]


class EndpointFilter(django_filters.FilterSet):  # type: ignore[misc]
    q = django_filters.CharFilter(
        method="filter_words",
        label=gettext_lazy("Search"),
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "data-search": "",
                "placeholder": gettext_lazy("name or description"),
            }
        ),
    )
    health = django_filters.ChoiceFilter(
        method="filter_later",
        label=gettext_lazy("Health"),
        choices=list(HEALTH_LABELS.items()),
        empty_label=gettext_lazy("Any"),
    )
    auth = django_filters.ChoiceFilter(
        field_name="auth_mode",
        label=gettext_lazy("Authentication"),
        choices=list(AUTH_LABELS.items()),
        empty_label=gettext_lazy("Any"),
    )
    owner = django_filters.ChoiceFilter(
        field_name="created_by__username",
        label=gettext_lazy("Owner"),
        empty_label=gettext_lazy("Anyone"),
    )
    tag = django_filters.CharFilter(
        method="filter_tag",
        label=gettext_lazy("Tag"),
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("team or team=fraud")}),
    )

    class Meta:
        model = OnlineEndpoint
        fields = ()

    def __init__(self, *args: Any, owners: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["owner"].extra["choices"] = [(name, name) for name in owners]

    def filter_words(
        self, rows: QuerySet[OnlineEndpoint], name: str, value: str
    ) -> QuerySet[OnlineEndpoint]:
        return rows.filter(Q(name__icontains=value) | Q(description__icontains=value))

    def filter_later(
        self, rows: QuerySet[OnlineEndpoint], name: str, value: str
    ) -> QuerySet[OnlineEndpoint]:
        """Health is worked out from the deployments, after the database has answered."""
        return rows

    def filter_tag(
        self, rows: QuerySet[OnlineEndpoint], name: str, value: str
    ) -> QuerySet[OnlineEndpoint]:
        """`team` finds every endpoint that has the tag, `team=fraud` those with that value."""
        key, equals, wanted = (part.strip() for part in value.partition("="))
        if not equals:
            return rows.filter(tags__has_key=key)
        return rows.filter(tags__contains={key: wanted})


class EndpointTable(tables.Table):  # type: ignore[misc]
    """Columns and their order; the cells are in the template."""

    name = tables.Column(verbose_name=gettext_lazy("Name"), order_by="sort_name")
    health = tables.Column(verbose_name=gettext_lazy("Health"), order_by=("rank", "sort_name"))
    deployments = tables.Column(verbose_name=gettext_lazy("Traffic"), orderable=False)
    requests = tables.Column(
        verbose_name=gettext_lazy("Requests"), orderable=False, empty_values=()
    )
    errors = tables.Column(verbose_name=gettext_lazy("Errors"), orderable=False, empty_values=())
    p95 = tables.Column(verbose_name=gettext_lazy("p95"), orderable=False, empty_values=())
    auth = tables.Column(
        verbose_name=gettext_lazy("Auth"),
        accessor="auth_label",
        order_by=("auth_mode", "sort_name"),
    )
    cost = tables.Column(verbose_name=gettext_lazy("Cost/day"), orderable=False, empty_values=())
    created_by = tables.Column(
        verbose_name=gettext_lazy("Created by"), order_by=("created_by", "sort_name")
    )
    updated = tables.Column(verbose_name=gettext_lazy("Updated"), accessor="updated_at")

    class Meta:
        order_by = ("health",)


@studio_page("onlineEndpoints/read")
@require_safe
def endpoint_list(request: StudioRequest) -> HttpResponse:
    """`?q= health= auth= owner= tag= sort= page=`; `format=csv` is all that the filters let through."""
    owners = _owners(request)
    chosen = EndpointFilter(
        request.GET, queryset=request.workspace.online_endpoints.all(), owners=owners
    )
    rows = rows_of(chosen.qs)
    wanted = chosen.form.cleaned_data.get("health") if chosen.form.is_valid() else ""
    if wanted:
        rows = [row for row in rows if row.health.word == wanted]
    if request.GET.get("format") == "csv":
        return _csv(request, rows)
    table = EndpointTable(rows)
    order_and_cut(table, request.GET)
    shown = [row.record for row in table.page.object_list]
    fill_figures(request, shown)
    is_filtered = any(chosen.form.cleaned_data.values()) if chosen.form.is_valid() else True
    context = {
        "table": table,
        "rows": shown,
        "filter": chosen,
        "is_filtered": is_filtered,
        "is_busy": any(row.is_busy for row in shown),
        "is_empty": not rows and not is_filtered,
        "csv_query": _query(request, format="csv"),
        "can": rights_of(request.role),
    }
    return render_page(request, "endpoints/list.html", "endpoints/_list.html", context)


@studio_page("onlineEndpoints/delete")
@require_POST
def delete_many(request: StudioRequest) -> HttpResponse:
    """Without `confirm`, names what would go; with it, deletes the endpoints named."""
    names = request.POST.getlist("name")
    found = list(request.workspace.online_endpoints.filter(name__in=names).order_by("name"))
    back = reverse("studio:endpoints", args=[request.workspace.name])
    if not found:
        toast(request, _("Choose the endpoints to delete first."), level="warning")
        return go(request, back)
    if not request.POST.get("confirm"):
        facts = facts_of([endpoint.pk for endpoint in found])
        context = {
            "endpoints": [(endpoint, facts[endpoint.pk]) for endpoint in found],
            "serving": [endpoint for endpoint in found if endpoint.traffic],
            "code_samples": samples_of(
                request, online.delete(place_of(request), map(endpoint_of, found))
            ),
        }
        page, part = "endpoints/delete_many.html", "endpoints/_delete_many_form.html"
        return render_page(request, page, part, context)
    for endpoint in found:
        delete_endpoint(endpoint, by=request.user)
    count = len(found)
    words = ngettext(
        "%(n)s endpoint is being deleted.", "%(n)s endpoints are being deleted.", count
    )
    toast(request, words % {"n": count})
    return go(request, back)


def order_and_cut(table: tables.Table, query: QueryDict) -> None:
    """As `?sort= page=` ask; what names no column or page is passed over, and the size of a page is ours."""
    asked = query.getlist(table.prefixed_order_by_field)
    known = set(table.columns.names())
    table.order_by = [name for name in asked if name.removeprefix("-") in known]
    page = Paginator(table.rows, PER_PAGE).get_page(query.get(table.prefixed_page_field))
    table.paginate(page=page.number, per_page=PER_PAGE)


def rows_of(endpoints: QuerySet[OnlineEndpoint]) -> list[Row]:
    """All of them with their health, in three queries."""
    fields = ("pk", "name", "state", "traffic", "mirror_traffic", "auth_mode")
    found = list(endpoints.values(*fields, "created_at", "updated_at", "created_by__username"))
    ids = [item["pk"] for item in found]
    facts, failed = facts_of(ids), failures(ids)
    return [
        Row(
            id=item["pk"],
            name=item["name"],
            traffic=item["traffic"],
            mirror_traffic=item["mirror_traffic"],
            auth_mode=item["auth_mode"],
            created_by=item["created_by__username"] or "",
            created_at=item["created_at"],
            updated_at=item["updated_at"],
            health=health_of(
                item["state"],
                item["traffic"],
                facts[item["pk"]],
                failed.get(item["pk"], NO_FAILURES),
            ),
            deployments=facts[item["pk"]],
            failed_percent=failed.get(item["pk"], NO_FAILURES).percent,
        )
        for item in found
    ]


def fill_figures(request: StudioRequest, rows: Sequence[Row]) -> None:
    """Put the figures of the last hour into the rows; the number of queries does not grow with them."""
    known = figures.of_endpoints(request.workspace, {row.id: row.name for row in rows})
    for row in rows:
        row.figures = known[row.id]


def _owners(request: StudioRequest) -> list[str]:
    made = request.workspace.online_endpoints.values("created_by")
    return list(
        User.objects.filter(pk__in=made).order_by("username").values_list("username", flat=True)
    )


def _csv(request: StudioRequest, rows: Sequence[Row]) -> HttpResponse:
    fill_figures(request, rows)
    name = f"{request.workspace.name}-endpoints.csv"
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    writer = csv.writer(response)
    writer.writerow(
        ["name", "health", "traffic", "requests_per_minute", "error_percent", "p95_ms", "auth_mode",
         "cost_per_day", "created_by", "created_at", "updated_at"]
    )  # fmt: skip
    for row in sorted(rows, key=lambda row: (row.rank, row.sort_name)):
        split = " ".join(f"{name}={percent}" for name, percent in row.traffic.items())
        cells = [
            row.name,
            row.health.word,
            split,
            row.figures.requests_per_minute,
            row.figures.error_percent,
            row.figures.p95_ms,
            row.auth_mode,
            row.figures.cost_per_day,
            row.created_by,
            row.created_at.isoformat(timespec="seconds"),
            row.updated_at.isoformat(timespec="seconds"),
        ]
        writer.writerow([_cell(value) for value in cells])
    return response


def _cell(value: object) -> str:
    """A spreadsheet runs what begins with these signs as a formula; a quote makes it text."""
    text = "" if value is None else str(value)
    return (
        f"'{text}" if isinstance(value, str) and text[:1] in {"=", "+", "-", "@", "\t"} else text
    )


def _query(request: StudioRequest, **changes: str) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    for name, value in changes.items():
        query[name] = value
    return query.urlencode()
