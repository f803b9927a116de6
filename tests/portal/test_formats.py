"""How the studio writes numbers, sizes, times and pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from portal import deployment_colors
from portal.templatetags import shapes, studio

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def plain(text: str) -> str:
    return text.replace(studio.NARROW_SPACE, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (0, "0"), (0.01234, "0.0123"), (12.345, "12.3"), (999.6, "1000"), (1234, "1 234"),
     (9999, "9 999"), (10_000, "10 k"), (12_345, "12.3 k"), (999_600, "1 M"), (4_560_000, "4.56 M"),
     (-0.5, "-0.5"), (float("nan"), "\u2013")],
)  # fmt: skip
def test_numbers_have_at_most_three_significant_digits(value: float | None, text: str) -> None:
    assert plain(studio.number(value)) == text


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [(None, "\u2013"), (0, "0"), (1 / 15, "4/h"), (0.8667, "52/h"), (1, "1/min"), (4.067, "4.07/min")],
)  # fmt: skip
def test_rates_are_numbers_that_people_say(per_minute: float | None, text: str) -> None:
    assert studio.rate(per_minute) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "\u2013"), (0, "0.00 EUR"), (0.004, "<0.01 EUR"), (4.08, "4.08 EUR"), (1234.5, "1 234.50 EUR")],
)  # fmt: skip
def test_sums_of_money_have_the_currency_of_the_installation(
    settings: Settings, amount: float | None, text: str
) -> None:
    settings.CURRENCY = "EUR"
    assert plain(studio.money(amount)) == text


def test_one_core_is_no_plural() -> None:
    said = [studio.cores(value) for value in (1, Decimal("1.00"), 0.5, Decimal("2.00"))]
    assert said == ["1 core", "1 core", "0.5 cores", "2 cores"]


def test_prices_keep_the_digits_that_small_instances_need() -> None:
    prices = ("0.0850", "22.0320", "3")
    assert [plain(studio.price(Decimal(value))) for value in prices] == [
        "0.085 USD",
        "22.032 USD",
        "3.00 USD",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0, "0 B"),
        (512, "512 B"),
        (1503238553, "1.4 GiB"),
        (734003200, "700 MiB"),
        (5 * 2**40, "5 TiB"),
    ],
)
def test_sizes_are_binary(value: float | None, text: str) -> None:
    assert plain(studio.size(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (0, "0 s"), (0.42, "420 ms"), (4.23, "4.2 s"), (42.4, "42 s"), (59.7, "1 min"),
     (130, "2 min 10 s"), (timedelta(hours=3, minutes=5), "3 h 5 min"), (timedelta(days=6, hours=4), "6 d 4 h")],
)  # fmt: skip
def test_durations_use_at_most_two_units(value: Any, text: str) -> None:
    assert plain(studio.duration(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "just now"), (20, "20 s ago"), (200, "3 min ago"), (7200, "2 h ago"), (86400 * 3, "3 d ago"),
     (-400, "in 6 min"), (86400 * 40, "23 Jan 2026")],
)  # fmt: skip
def test_times_are_relative_for_a_month(seconds: int, text: str) -> None:
    assert studio.relative(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_relative_time_keeps_the_absolute_one_for_machines_and_readers() -> None:
    html = studio.ago("2026-03-04T13:00:00+01:00")
    assert 'datetime="2026-03-04T12:00:00+00:00"' in html
    assert 'title="2026-03-04 12:00:00 UTC"' in html


def test_an_unknown_state_is_shown_by_its_own_name() -> None:
    assert studio.state_of("Levitating").word == "Levitating"


def test_every_icon_of_a_state_is_in_the_sprite() -> None:
    sprite = (ROOT / "static" / studio.ICONS).read_text()
    for state in studio.STATES.values():
        assert f'<symbol id="{state.icon}"' in sprite


def test_blue_and_green_are_blue_and_green() -> None:
    assert deployment_colors.slots_of(["green", "v2", "blue"])["blue"] == 1
    assert deployment_colors.slots_of(["green", "v2", "blue"])["green"] == 2


def test_up_to_eight_deployments_never_share_a_colour() -> None:
    names = [f"deployment-{number}" for number in range(8)]
    assert sorted(deployment_colors.slots_of(names).values()) == list(range(1, 9))


def test_a_name_as_a_colour_wins_over_one_that_came_first() -> None:
    rivals = [name for name in map(str, range(99)) if deployment_colors.slot_of(name) == 1]
    assert deployment_colors.slots_of([rivals[0], "blue"])["blue"] == 1


def test_shares_are_stacked_and_told_in_words() -> None:
    found = shapes.shares(
        [
            {"name": "blue", "live": 90, "mirrored": 0},
            {"name": "green", "live": 10, "mirrored": 25},
        ]
    )
    assert [share.start for share in found.live] == [0, 90]
    assert found.label == "blue 90 %, green 10 %, green mirrored 25 %"


def test_a_gap_in_a_sparkline_stays_a_gap() -> None:
    line = shapes.spark([1, 2, None, 3, 4, None, 5])
    assert line.line.count("M") == 2
    assert len(line.dots) == 1


def test_a_sparkline_without_values_draws_nothing() -> None:
    assert shapes.spark([]).line == ""
    assert shapes.spark([None, None]).dots == []
