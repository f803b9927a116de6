"""The dialog “Update traffic”: any sum, two people at once, presets, mirroring, undo."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_traffic
from portal.studio.traffic import Wish, presets, query_of, read_wish
from tests.factories import Cast, make_deployment, make_online_endpoint

NAMES = ("blue", "green", "red")


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(
        cast.workspace, "churn", deployments={"blue": 100, "green": 0, "red": 0}
    )


def url(endpoint: OnlineEndpoint) -> str:
    return reverse("studio:traffic", args=[endpoint.workspace.name, endpoint.name])


def fields(revision: int = 1, **shares: object) -> dict[str, object]:
    return {"revision": revision, **{f"traffic-{name}": share for name, share in shares.items()}}


# Sums -------------------------------------------------------------------------------------------------

SHARES = st.dictionaries(st.sampled_from(NAMES), st.integers(-5, 105), min_size=1)
SPLITS = st.lists(st.integers(0, 100), min_size=2, max_size=2).map(
    lambda cuts: dict(zip(NAMES, (min(cuts), max(cuts) - min(cuts), 100 - max(cuts)), strict=True))
)


@pytest.mark.thorough
@given(shares=SHARES | SPLITS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_only_sums_of_0_and_100_are_accepted_and_stored_as_sent(
    alice: Client, endpoint: OnlineEndpoint, shares: dict[str, int]
) -> None:
    endpoint.refresh_from_db()
    before = endpoint.traffic
    reply = alice.post(url(endpoint), fields(endpoint.revision, **shares))
    endpoint.refresh_from_db()
    is_right = sum(shares.values()) in (0, 100) and all(0 <= n <= 100 for n in shares.values())
    if is_right:
        assert reply.status_code == 303
        assert endpoint.traffic == {name: share for name, share in shares.items() if share}
    else:
        assert reply.status_code == 422
        assert endpoint.traffic == before


@pytest.mark.parametrize("typed", ["", "ten", "1.5", "-1", "1e2", "9" * 40, "٣"])
def test_what_is_no_percentage_is_refused_and_kept_in_its_field(
    alice: Client, endpoint: OnlineEndpoint, typed: str
) -> None:
    page = alice.post(url(endpoint), fields(blue=100, green=typed))
    assert page.status_code == 422
    assert endpoint.traffic == {"blue": 100}


def test_the_total_is_said_when_it_is_wrong(alice: Client, endpoint: OnlineEndpoint) -> None:
    text = alice.post(url(endpoint), fields(blue=80, green=10)).content.decode()
    assert "Total must be 0 % (disable traffic) or 100 %. Now 90 %." in text
    assert "Traffic adds up to 90 %" in text


# Two people at once -----------------------------------------------------------------------------------


@pytest.mark.thorough
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 100)), max_size=12))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_two_browsers_never_overwrite_what_they_have_not_seen(
    alice: Client, endpoint: OnlineEndpoint, steps: list[tuple[int, bool, int]]
) -> None:
    """Each step: one of two browsers loads the form, or sends it with the revision it loaded last."""
    seen = [0, 0]
    for browser, is_load, share in steps:
        endpoint.refresh_from_db()
        if is_load:
            seen[browser] = alice.get(url(endpoint)).context["revision"]
            continue
        before = dict(endpoint.traffic)
        reply = alice.post(url(endpoint), fields(seen[browser], blue=share, green=100 - share))
        is_fresh = seen[browser] == endpoint.revision
        endpoint.refresh_from_db()
        wanted = {name: n for name, n in {"blue": share, "green": 100 - share}.items() if n}
        assert reply.status_code == (303 if is_fresh else 409)
        assert endpoint.traffic == (wanted if is_fresh else before)


def test_a_conflict_shows_both_sides_and_mine_can_be_applied(
    alice: Client, endpoint: OnlineEndpoint, cast: Cast
) -> None:
    set_traffic(endpoint, {"blue": 50, "green": 50}, by=cast.bob)
    page = alice.post(url(endpoint), fields(1, blue=90, green=10))
    text = page.content.decode()
    assert page.status_code == 409
    assert "bob changed the traffic" in text
    assert "blue 50 %, green 50 %" in text
    assert "blue 90 %, green 10 %" in text
    assert "Use theirs" in text
    mine = fields(page.context["revision"], blue=90, green=10)
    assert alice.post(url(endpoint), mine).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"blue": 90, "green": 10}


def test_a_form_without_its_revision_is_a_conflict(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    assert alice.post(url(endpoint), {"traffic-green": "100"}).status_code == 409


# Mirrored traffic -------------------------------------------------------------------------------------


def test_mirrored_traffic_goes_to_one_idle_deployment(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    mirrored = {"mirror": "on", "mirror_deployment": "green", "mirror_percent": "10"}
    assert alice.post(url(endpoint), {**fields(blue=100), **mirrored}).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.mirror_traffic == {"green": 10}
    assert alice.post(url(endpoint), fields(2, blue=100)).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.mirror_traffic == {}


@pytest.mark.parametrize(
    ("target", "percent", "reason"),
    [
        ("blue", "10", "cannot get mirrored traffic too"),
        ("green", "51", "must be a whole number from 0 to 50"),
        ("gone", "10", "does not exist under this endpoint"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(
    alice: Client, endpoint: OnlineEndpoint, target: str, percent: str, reason: str
) -> None:
    mirrored = {"mirror": "on", "mirror_deployment": target, "mirror_percent": percent}
    page = alice.post(url(endpoint), {**fields(blue=100), **mirrored})
    assert page.status_code == 422
    assert reason in page.content.decode()


def test_a_preset_does_not_drop_what_is_mirrored(alice: Client, endpoint: OnlineEndpoint) -> None:
    endpoint.mirror_traffic = {"red": 20}
    endpoint.save()
    page = alice.get(url(endpoint), {"traffic-blue": "50", "traffic-green": "50"})
    assert page.context["is_mirroring"]
    assert page.context["mirror_percent"] == 20
    assert page.context["revision"] == endpoint.revision


# Readiness, presets, undo -----------------------------------------------------------------------------


def test_a_deployment_that_is_not_ready_is_blocked_with_its_phase(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    make_deployment(endpoint, "late", state="Creating")
    page = alice.get(url(endpoint))
    blocked = {row.name: row.blocked for row in page.context["rows"]}
    assert blocked["late"] == "late is not ready (Load model)"
    assert blocked["green"] == ""
    assert alice.post(url(endpoint), fields(blue=50, late=50)).status_code == 422


def test_presets_are_between_who_serves_and_the_newest_other() -> None:
    found = dict(presets(NAMES, {"blue": 90, "red": 10}, NAMES))
    assert found["100/0"] == {"blue": 100, "green": 0, "red": 0}
    assert found["90/10"] == {"blue": 90, "green": 0, "red": 10}
    assert found["Swap"] == {"blue": 10, "green": 0, "red": 90}
    assert found["All to green"] == {"blue": 0, "green": 100, "red": 0}


@given(
    st.sets(st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100)),
)
def test_every_preset_is_a_split_over_ready_deployments(
    ready: set[str], live: dict[str, int]
) -> None:
    for _label, split in presets(NAMES, live, sorted(ready)):
        assert sum(split.values()) == 100
        assert all(name in ready for name, share in split.items() if share)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100)),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 50), max_size=1),
    st.integers(1, 10**6),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Z"))),
)
def test_a_wish_survives_an_address(
    traffic: dict[str, int | str], mirror: dict[str, int | str], revision: int, note: str
) -> None:
    wish = Wish(traffic, mirror, revision, note[:500].strip())
    assert read_wish(QueryDict(query_of(wish))) == wish


def undo_of(client: Client, page: str) -> str:
    """The address behind the button of the toast on the page."""
    found = re.search(r'action="([^"]*/traffic\?[^"]*)"', client.get(page).content.decode())
    assert found is not None
    return found[1].replace("&amp;", "&")


def test_undo_puts_back_what_was_before(alice: Client, endpoint: OnlineEndpoint) -> None:
    endpoint.mirror_traffic = {"green": 10}
    endpoint.save()
    reply = alice.post(url(endpoint), fields(blue=50, green=50))
    address = undo_of(alice, reply.headers["Location"])
    assert urlsplit(address).path == url(endpoint)
    assert alice.post(address).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"blue": 100}
    assert endpoint.mirror_traffic == {"green": 10}


def test_undo_does_not_undo_what_somebody_else_did(
    alice: Client, endpoint: OnlineEndpoint, cast: Cast
) -> None:
    reply = alice.post(url(endpoint), fields(blue=50, green=50))
    address = undo_of(alice, reply.headers["Location"])
    endpoint.refresh_from_db()
    set_traffic(endpoint, {"red": 100}, by=cast.bob)
    assert alice.post(address).status_code == 409
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"red": 100}


def test_the_dialog_closes_and_the_page_asks_again(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    reply = alice.post(url(endpoint), fields(blue=90, green=10), headers={"HX-Request": "true"})
    assert reply.status_code == 204
    events = json.loads(reply.headers["HX-Trigger"])
    assert {"dialog:close", "endpoint-changed", "toast"} <= set(events)
    assert events["toast"]["items"][0]["text"] == "Traffic updated: blue 90 %, green 10 %."


def test_the_same_split_again_changes_nothing_and_says_nothing(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    reply = alice.post(url(endpoint), fields(blue=100))
    assert reply.status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.revision == 1


def test_the_note_is_kept_in_the_activity(alice: Client, endpoint: OnlineEndpoint) -> None:
    alice.post(url(endpoint), {**fields(blue=90, green=10), "note": "careful"})
    assert endpoint.workspace.activities.filter(note="careful", verb="update traffic").exists()


def test_the_form_works_as_a_page_and_as_a_part(alice: Client, endpoint: OnlineEndpoint) -> None:
    page = alice.get(url(endpoint)).content.decode()
    part = alice.get(url(endpoint), headers={"HX-Request": "true"}).content.decode()
    assert "<html" in page
    assert "<html" not in part
    assert "hx-post" in part
    # On the page the form is sent by the browser, so that it ends on the endpoint's own page.
    form = page[page.index('action="') : page.index('id="traffic-form"')]
    assert "hx-post" not in form
