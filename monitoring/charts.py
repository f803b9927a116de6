"""Plotly figures as plain dictionaries, each with the same data as a table. Pure: series in, charts out.

Colours are CSS variables, which `static/js/chart.js` looks up in the theme of the moment: `--deployment-<1..8>` for
deployments (each with a dash of its own too), `--success`, `--info`, `--warning`, `--danger`, `--neutral` for statuses.
Axes, fonts and backgrounds are left to the theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitoring.costs import DayCost
from monitoring.metrics import Point, Series

Figure = dict[str, Any]

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
STATUS_COLORS = {
    "2xx": "var(--success)",
    "3xx": "var(--info)",
    "4xx": "var(--warning)",
    "5xx": "var(--danger)",
    "0": "var(--neutral)",
}
STATUS_NAMES = {"0": "client left"}
PERCENTILE_LOOKS = {
    "p50": ("var(--info)", "solid"),
    "p90": ("var(--success)", "dot"),
    "p95": ("var(--warning)", "dash"),
    "p99": ("var(--danger)", "dashdot"),
}


@dataclass(frozen=True)
class Look:
    color: str
    dash: str = "solid"


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[Point]
    look: Look


@dataclass(frozen=True)
class ChartData:
    key: str
    """Tells the chart from the others of its page; fit for an element's id."""
    title: str
    unit: str
    columns: list[str]
    rows: list[list[Any]]
    """Time (ISO 8601, UTC) first; None where nothing was measured."""
    figure: Figure = field(repr=False)
    metric: str = ""
    """Name in the catalogue, for an alert rule on what the chart shows."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was measured."""
        return all(value is None for row in self.rows for value in row[1:])


def deployment_look(slot: int) -> Look:
    """The same for a deployment on every chart; slots are 1 to 8."""
    return Look(f"var(--deployment-{slot})", DASHES[(slot - 1) % len(DASHES)])


def line_chart(
    key: str, title: str, unit: str, curves: Sequence[Curve], *, metric: str = ""
) -> ChartData:
    """Lines over time, with gaps where nothing was measured."""
    times = [_time(point) for point in curves[0].points] if curves else []
    traces = [_line(curve, unit) for curve in curves]
    rows = [
        [time, *(_rounded(curve.points[number].value) for curve in curves)]
        for number, time in enumerate(times)
    ]
    return ChartData(
        key=key,
        title=title,
        unit=unit,
        columns=["Time", *(curve.name or title for curve in curves)],
        rows=rows,
        figure={"data": traces, "layout": _layout(unit, legend=len(curves) > 1, kind="date")},
        metric=metric,
    )


def status_curves(series: Iterable[Series]) -> list[Curve]:
    """One for each class of status, the good ones first."""
    order = list(STATUS_COLORS)
    found = sorted(
        series, key=lambda one: order.index(one.label) if one.label in order else len(order)
    )
    return [
        Curve(
            STATUS_NAMES.get(one.label, one.label),
            one.points,
            Look(STATUS_COLORS.get(one.label, "var(--neutral)")),
        )
        for one in found
    ]


def deployment_curves(series: Iterable[Series], slots: Mapping[str, int]) -> list[Curve]:
    """One for each deployment; requests that reached none come under the gateway's name."""
    return [
        Curve(one.label, one.points, deployment_look(slots.get(one.label, 8)))
        if one.label
        else Curve("gateway", one.points, Look("var(--neutral)", "dot"))
        for one in series
    ]


def percentile_curves(by_name: Mapping[str, Series]) -> list[Curve]:
    return [
        Curve(name, series.points, Look(*PERCENTILE_LOOKS[name]))
        for name, series in by_name.items()
    ]


def single_curve(name: str, series: Sequence[Series]) -> list[Curve]:
    return [Curve(name, one.points, Look("var(--accent)")) for one in series]


def cost_chart(
    costs: Sequence[DayCost], days: Sequence[str], slots: Mapping[str, int], currency: str
) -> ChartData:
    """Bars by day, stacked by deployment; a day on which nothing was held costs nothing."""
    names = sorted({cost.deployment_name for cost in costs})
    by_key = {(cost.day.isoformat(), cost.deployment_name): float(cost.cost) for cost in costs}
    traces: list[Figure] = [
        {
            "type": "bar",
            "name": name,
            "x": list(days),
            "y": [round(by_key.get((day, name), 0.0), 4) for day in days],
            "marker": {"color": deployment_look(slots.get(name, 8)).color},
            "hovertemplate": "%{y:.2f} " + currency,
        }
        for name in names
    ]
    layout = _layout(currency, legend=len(names) > 1, kind="category") | {"barmode": "stack"}
    return ChartData(
        key="cost",
        title="Cost per day",
        unit=currency,
        columns=["Day", *names],
        rows=[[day, *(round(by_key.get((day, name), 0.0), 4) for name in names)] for day in days],
        figure={"data": traces, "layout": layout},
    )


def sparkline(points: Iterable[Point]) -> list[float | None]:
    """The bare values, for a small drawing in a table; None is a gap."""
    return [_rounded(point.value) for point in points]


def _line(curve: Curve, unit: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines" if _has_stretch(curve.points) else "lines+markers",
        "name": curve.name,
        "x": [_time(point) for point in curve.points],
        "y": [_rounded(point.value) for point in curve.points],
        "connectgaps": False,
        "line": {"color": curve.look.color, "dash": curve.look.dash, "width": 2},
        "hovertemplate": "%{y:.4~g} " + unit,
    }


def _has_stretch(points: Sequence[Point]) -> bool:
    """Whether no point stands alone between two gaps: a line would not show it."""
    values = [None, *(point.value for point in points), None]
    return not any(
        here is not None and before is None and after is None
        for before, here, after in zip(values, values[1:], values[2:], strict=False)
    )


def _layout(unit: str, *, legend: bool, kind: str) -> Figure:
    return {
        "showlegend": legend,
        "hovermode": "x unified",
        "xaxis": {"type": kind},
        "yaxis": {"title": {"text": unit}, "rangemode": "tozero"},
    }


def _time(point: Point) -> str:
    return point.at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
