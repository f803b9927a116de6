"""How the studio writes times, sizes, numbers and states. Every value may be None: that shows as a dash."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.conf import settings
from django.forms import BoundField
from django.templatetags.static import static
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from portal import deployment_colors as colors

register = template.Library()

DASH = "\u2013"
NARROW_SPACE = "\u202f"
ICONS = "vendor/tabler-icons-3.51.0/icons.svg"

# `static/js/time.js` keeps the relative times of an open page true with the same words.
AGO_WORDS: dict[str, str | Promise] = {
    "now": _("just now"),
    "s": _("{n} s ago"),
    "min": _("{n} min ago"),
    "h": _("{n} h ago"),
    "d": _("{n} d ago"),
    "in_s": _("in {n} s"),
    "in_min": _("in {n} min"),
    "in_h": _("in {n} h"),
    "in_d": _("in {n} d"),
}
CONTROL_CLASSES = {
    "Select": "form-select",
    "SelectMultiple": "form-select",
    "CheckboxInput": "form-check-input",
    "RadioSelect": "",
    "CheckboxSelectMultiple": "",
}
AGO_LIMIT = timedelta(days=30)


@dataclass(frozen=True)
class State:
    """How a state looks: never by colour alone."""

    icon: str
    tone: str
    word: str | Promise
    is_busy: bool = False


STATES: dict[str, State] = {
    # Provisioning
    "Creating": State("loader-2", "info", _("Creating"), True),
    "Updating": State("loader-2", "info", _("Updating"), True),
    "Deleting": State("loader-2", "neutral", _("Deleting"), True),
    "Succeeded": State("circle-check", "success", _("Succeeded")),
    "Failed": State("circle-x", "danger", _("Failed")),
    "Canceled": State("ban", "neutral", _("Canceled")),
    "CancelRequested": State("loader-2", "neutral", _("Canceling"), True),
    # Health
    "Healthy": State("heartbeat", "success", _("Healthy")),
    "Degraded": State("alert-triangle", "warning", _("Degraded")),
    "Unhealthy": State("alert-circle", "danger", _("Unhealthy")),
    "Paused": State("player-pause", "neutral", _("Paused")),
    "ScaledToZero": State("zzz", "neutral", _("Scaled to zero")),
    "Unknown": State("circle-dashed", "neutral", pgettext_lazy("health", "Unknown")),
    "Empty": State("circle-dashed", "neutral", _("No deployments")),
    # Instances and phases
    "Starting": State("loader-2", "info", _("Starting"), True),
    "Running": State("loader-2", "info", _("Running"), True),
    "Queued": State("clock", "neutral", _("Queued")),
    "Pending": State("circle-dashed", "neutral", _("Pending")),
    "Unready": State("alert-triangle", "warning", _("Unready")),
    "Exited": State("circle-x", "danger", _("Exited")),
    "Absent": State("circle-minus", "neutral", _("Absent")),
    "Draining": State("hourglass", "warning", _("Draining")),
    # Jobs
    "Preparing": State("loader-2", "info", _("Preparing"), True),
    "Finalizing": State("loader-2", "info", _("Finalizing"), True),
    "Completed": State("circle-check", "success", _("Completed")),
    "CompletedWithErrors": State("alert-triangle", "warning", _("Completed with errors")),
    # Traffic
    "Live": State("route", "success", _("Live")),
    "Mirrored": State("copy-plus", "info", _("Mirrored")),
    "NoTraffic": State("circle-dashed", "neutral", _("No traffic")),
    # Words that only mark
    "Archived": State("archive", "neutral", _("Archived")),
    "Warning": State("alert-triangle", "warning", _("Warning")),
    "Info": State("info-circle", "info", _("Information")),
}


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """An icon of the vendored sprite; decoration, so screen readers skip it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static(ICONS),
        name,
    )


@register.simple_tag
def state_of(state: str) -> State:
    """The look of a state; an unknown one is shown by its own name."""
    return STATES.get(str(state)) or State("circle-dot", "neutral", str(state))


@register.simple_tag
def ago_words() -> str:
    """The words of relative times as JSON, for the script that keeps them true."""
    return json.dumps({key: str(word) for key, word in AGO_WORDS.items()})


@register.filter
def ago(moment: datetime | str | None) -> SafeString | str:
    """A `<time>` with relative words, and the absolute time with its zone as the tooltip."""
    found = _moment(moment)
    if found is None:
        return DASH
    utc = found.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        utc.isoformat(timespec="seconds"),
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
        relative(found, timezone.now()),
    )


@register.filter
def moment(value: datetime | str | None) -> SafeString | str:
    """A `<time>` with the absolute time in the reader's zone (UTC until the script has run)."""
    found = _moment(value)
    if found is None:
        return DASH
    utc = found.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-moment>{}</time>',
        utc.isoformat(timespec="milliseconds"),
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
    )


def relative(moment: datetime, now: datetime) -> str:
    """“3 min ago”, “in 2 h”; beyond thirty days the date."""
    distance = now - moment
    if abs(distance) > AGO_LIMIT:
        return date_format(moment.astimezone(UTC), "j M Y")
    distant = round(abs(distance).total_seconds())
    if distant < 5:
        return str(AGO_WORDS["now"])
    count, unit = _largest_unit(distant)
    key = unit if distance > timedelta(0) else f"in_{unit}"
    return str(AGO_WORDS[key]).replace("{n}", str(count))


@register.filter
def number(value: float | None) -> str:
    """At most three significant digits from 10 000 on, grouped below: `1 234`, `12.3 k`, `0.0123`."""
    if value is None or not math.isfinite(value):
        return DASH
    amount = abs(value)
    if amount < 1000 and value != int(value):
        return _significant(value)
    if amount < 9999.5:
        return f"{round(value):,}".replace(",", NARROW_SPACE)
    for unit, scale in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if amount < scale * 999.5:
            return f"{_significant(value / scale)}{NARROW_SPACE}{unit}"
    return f"{_significant(value / 1e12)}{NARROW_SPACE}T"


@register.filter
def size(value: float | None) -> str:
    """Bytes: `1.4 GiB`."""
    if value is None:
        return DASH
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1000:
            return f"{_significant(amount)}{NARROW_SPACE}{unit}"
        amount /= 1024
    return f"{_significant(amount)}{NARROW_SPACE}TiB"


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Seconds or a timedelta: `420 ms`, `4.2 s`, `2 min 10 s`, `3 h 5 min`, `6 d 4 h`."""
    if value is None:
        return DASH
    exact = seconds(value)
    if 0 < exact < 0.9995:
        return f"{_significant(exact * 1000)}{NARROW_SPACE}ms"
    if exact < 9.95:
        return f"{round(exact, 1):g}{NARROW_SPACE}s"
    whole = round(exact)
    if whole < 60:
        return f"{whole}{NARROW_SPACE}s"
    steps = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    for scale, unit, smaller, smaller_unit in steps:
        if whole >= scale:
            first, rest = divmod(whole, scale)
            second = rest // smaller
            tail = f" {second}{NARROW_SPACE}{smaller_unit}" if second else ""
            return f"{first}{NARROW_SPACE}{unit}{tail}"
    raise AssertionError("unreachable: a minute is at least sixty seconds")


@register.filter
def seconds(value: timedelta | float | None) -> float:
    """A number for `<progress>`; nothing yet is 0."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value or 0)


@register.filter
def milliseconds(value: float | None) -> str:
    """A latency in milliseconds: `12.3 ms`, from one second on as a duration."""
    if value is None:
        return DASH
    if value < 999.5:
        return f"{_significant(value)}{NARROW_SPACE}ms"
    return duration(value / 1000)


@register.filter
def percent(value: float | None) -> str:
    """Of a number that is a percentage already: `12.3 %`."""
    return DASH if value is None else f"{_significant(value)}{NARROW_SPACE}%"


@register.filter
def cores(value: float | Decimal | None) -> str:
    """`1 core`, `0.5 cores`."""
    if value is None:
        return DASH
    words = ngettext("%(count)s core", "%(count)s cores", 1 if value == 1 else 2)
    return words % {"count": number(float(value))}


@register.filter
def rate(per_minute: float | None) -> str:
    """Events per minute, or per hour where that is a number that people say: `4.07/min`, `52/h`."""
    if per_minute is None or not 0 < per_minute < 1:
        return number(per_minute) + ("/min" if per_minute else "")
    return f"{number(round(per_minute * 60))}/h"


@register.filter
def money(amount: float | Decimal | None) -> str:
    """A sum in `PORTICO_CURRENCY`: `4.08 USD`, `<0.01 USD`."""
    if amount is None:
        return DASH
    text = "<0.01" if 0 < amount < 0.005 else f"{amount:,.2f}".replace(",", NARROW_SPACE)
    return f"{text}{NARROW_SPACE}{settings.CURRENCY}"


@register.simple_tag
def currency() -> str:
    """What prices are in."""
    return str(settings.CURRENCY)


@register.filter
def price(per_hour: Decimal) -> str:
    """The price of an hour with up to four digits after the point: `0.085 USD`."""
    text = f"{per_hour:.4f}".rstrip("0")
    whole, _point, digits = text.partition(".")
    return f"{whole}.{digits:0<2}{NARROW_SPACE}{settings.CURRENCY}"


@register.filter
def deployment_color(name: str, taken: dict[str, int] | None = None) -> int:
    """The colour slot (1 to 8) of a deployment; give `deployment_colors` of its endpoint as `taken`."""
    return (taken or {}).get(name) or colors.slot_of(name)


@register.simple_tag(name="deployment_colors")
def colors_of(names: Sequence[str]) -> dict[str, int]:
    """A colour slot for each deployment of an endpoint, all different up to eight."""
    return colors.slots_of(names)


@register.filter
def control(field: BoundField) -> SafeString:
    """The form field's widget in the studio's look; Django adds `aria-invalid` and `aria-describedby`."""
    widget = field.field.widget
    look = CONTROL_CLASSES.get(widget.__class__.__name__, "form-control")
    own = widget.attrs.get("class", "")
    return field.as_widget(attrs={"class": f"{look} {own}".strip()})


@register.filter
def as_json(value: Any) -> str:
    """For a `data-` attribute; Django's autoescape makes it safe there."""
    return json.dumps(value, default=str, separators=(",", ":"))


@register.filter
def coded(sentence: str | None) -> SafeString:
    """The sentence with what stands between two `backticks` as code."""
    parts = re.split(r"`([^`]+)`", str(sentence or ""))
    looked = (format_html("<code>{}</code>", p) if n % 2 else p for n, p in enumerate(parts))
    return format_html_join("", "{}", ((part,) for part in looked))


@register.filter
def lines(texts: Sequence[str]) -> str:
    """The texts below each other, without an empty line at the end."""
    return "\n".join(texts).rstrip()


@register.filter
def lookup(mapping: dict[str, Any], key: str) -> Any:
    """`mapping[key]`, or None."""
    return mapping.get(key)


def _moment(value: datetime | str | None) -> datetime | None:
    found = parse_datetime(value) if isinstance(value, str) else value
    if found is None:
        return None
    return found if timezone.is_aware(found) else found.replace(tzinfo=UTC)


def _largest_unit(whole_seconds: int) -> tuple[int, str]:
    for scale, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole_seconds >= scale:
            return whole_seconds // scale, unit
    return whole_seconds, "s"


def _significant(value: float, digits: int = 3) -> str:
    """Three significant digits, without exponent or trailing zeros."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
