"""Geometry of the small server-rendered pictures: traffic donut, traffic bar, sparkline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django import template

from portal import deployment_colors as colors

register = template.Library()

DASH_ON, DASH_OFF = 1.3, 0.7


@dataclass(frozen=True)
class Share:
    """One deployment's part of live or mirrored traffic; `start` is where it begins on a scale of 100."""

    name: str
    slot: int
    percent: float
    start: float

    @property
    def dashes(self) -> str:
        """A dashed arc of this length on a circle of 100, for mirrored traffic."""
        marks = []
        left = self.percent
        while left > 0:
            marks += [min(DASH_ON, left), DASH_OFF]
            left -= DASH_ON + DASH_OFF
        return " ".join(f"{mark:g}" for mark in [*marks[:-1], 100])


@dataclass(frozen=True)
class Shares:
    live: list[Share]
    mirrored: list[Share]
    rows: list[dict[str, Any]]
    """For the legend: `{name, slot, live, mirrored}` each."""
    total: float
    label: str
    """The whole picture in words."""


@register.simple_tag
def shares(parts: Iterable[Any]) -> Shares:
    """Of items with `name`, `live` and `mirrored` percentages (mapping or object), in order of creation."""
    read = [
        (_get(part, "name"), _get(part, "live") or 0, _get(part, "mirrored") or 0)
        for part in parts
    ]
    slots = colors.slots_of([name for name, _live, _mirrored in read])
    rows = [
        {"name": name, "slot": slots[name], "live": live, "mirrored": mirrored}
        for name, live, mirrored in read
    ]
    words = [f"{row['name']} {row['live']} %" for row in rows if row["live"]]
    words += [f"{row['name']} mirrored {row['mirrored']} %" for row in rows if row["mirrored"]]
    return Shares(
        _stack(rows, "live"),
        _stack(rows, "mirrored"),
        rows,
        sum(row["live"] for row in rows),
        ", ".join(words),
    )


@dataclass(frozen=True)
class Spark:
    """Paths of a sparkline; gaps stay gaps."""

    line: str
    area: str
    dots: list[tuple[float, float]]
    """Points without a neighbour: lines without length, whose round caps show."""
    width: int
    height: int


@register.simple_tag
def spark(values: Sequence[float | None], width: int = 112, height: int = 28) -> Spark:
    """A line through `values`, oldest first; None is a gap."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max(known, default=0.0)
    span = (high - low) or 1.0
    step = width / max(1, len(values) - 1)
    inner = height - 4
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        runs[-1].append((round(index * step, 1), round(2 + inner * (1 - (value - low) / span), 1)))
    lines = [run for run in runs if len(run) > 1]
    return Spark(
        " ".join(_path(run) for run in lines),
        " ".join(f"{_path(run)} L{run[-1][0]} {height} L{run[0][0]} {height} Z" for run in lines),
        [run[0] for run in runs if len(run) == 1],
        width,
        height,
    )


@register.filter
def turn(percent: float) -> float:
    """Degrees of a share of the circle."""
    return round(3.6 * percent, 2)


def _stack(rows: Sequence[dict[str, Any]], key: str) -> list[Share]:
    found: list[Share] = []
    start = 0.0
    for row in rows:
        if row[key]:
            found.append(Share(row["name"], row["slot"], row[key], start))
            start += row[key]
    return found


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x} {y}" for x, y in points)


def _get(part: Any, key: str) -> Any:
    return part.get(key) if isinstance(part, dict) else getattr(part, key, None)
