"""The split of live and mirrored traffic: pure rules (facts 6.5), and the verbs that apply them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import transaction
from django.utils import timezone

from endpoints.gateway import publish
from endpoints.models import EndpointState, OnlineEndpoint
from workspaces.activity import record
from workspaces.errors import Conflict, UserError
from workspaces.models import User

MIRROR_MAXIMUM = 50


def check_split(percents: Mapping[str, object], deployments: Iterable[str]) -> dict[str, int]:
    """The split without zeros; whole numbers 0..100 of deployments that exist, adding up to 0 or 100."""
    known = {name.lower(): name for name in deployments}
    split: dict[str, int] = {}
    for name, percent in percents.items():
        if not isinstance(percent, int) or isinstance(percent, bool) or not 0 <= percent <= 100:
            raise UserError(
                f"The traffic of '{name}' is {percent!r}. It must be a whole number from 0 to 100.",
                target=f"traffic.{name}",
            )
        actual = known.get(str(name).lower())
        if actual is None and percent:
            raise UserError(_unknown(name, known.values()), target=f"traffic.{name}")
        if actual in split:
            raise UserError(f"The deployment '{name}' stands twice in traffic.", target="traffic")
        if actual is not None and percent:
            split[actual] = percent
    total = sum(split.values())
    if total not in (0, 100):
        raise UserError(
            f"Traffic adds up to {total} %. Percentages must add up to 0 (no traffic) or 100.",
            target="traffic",
        )
    return split


def check_mirror(
    percents: Mapping[str, object], deployments: Iterable[str], live: Mapping[str, int]
) -> dict[str, int]:
    """The mirror map: at most one deployment, 1..50 %, which has no live traffic; zeros clear."""
    known = {name.lower(): name for name in deployments}
    mirror: dict[str, int] = {}
    for name, percent in percents.items():
        if (
            not isinstance(percent, int)
            or isinstance(percent, bool)
            or not 0 <= percent <= MIRROR_MAXIMUM
        ):
            raise UserError(
                f"The mirrored traffic of '{name}' is {percent!r}. It must be a whole number from 0 to "
                f"{MIRROR_MAXIMUM}.",
                target=f"mirror_traffic.{name}",
            )
        if not percent:
            continue
        actual = known.get(str(name).lower())
        if actual is None:
            raise UserError(_unknown(name, known.values()), target=f"mirror_traffic.{name}")
        if live.get(actual):
            raise UserError(
                f"'{actual}' gets {live[actual]} % live traffic, so it cannot get mirrored traffic too. Set one of "
                "the two to 0.",
                target=f"mirror_traffic.{name}",
            )
        mirror[actual] = percent
    if len(mirror) > 1:
        raise UserError("Only one deployment can get mirrored traffic.", target="mirror_traffic")
    return mirror


def set_traffic(
    endpoint: OnlineEndpoint,
    percents: Mapping[str, object],
    *,
    by: User | None,
    based_on: int | None = None,
    note: str = "",
) -> OnlineEndpoint:
    """Route `percents` (deployment name → 0..100, sum 0 or 100) from the next request on.

    `based_on` is the revision the caller saw: `Conflict` when somebody changed the endpoint since.
    """
    return _change(endpoint, percents, None, by=by, based_on=based_on, note=note)


def set_mirror_traffic(
    endpoint: OnlineEndpoint,
    percents: Mapping[str, object],
    *,
    by: User | None,
    based_on: int | None = None,
    note: str = "",
) -> OnlineEndpoint:
    """Copy a share of the requests to one deployment and discard its answers; clients notice nothing."""
    return _change(endpoint, None, percents, by=by, based_on=based_on, note=note)


def set_both(
    endpoint: OnlineEndpoint,
    percents: Mapping[str, object],
    mirror_percents: Mapping[str, object],
    *,
    by: User | None,
    based_on: int | None = None,
    note: str = "",
) -> OnlineEndpoint:
    """Live and mirrored traffic in one change, as the dialog of the studio sends them."""
    return _change(endpoint, percents, mirror_percents, by=by, based_on=based_on, note=note)


@transaction.atomic
def _change(
    endpoint: OnlineEndpoint,
    percents: Mapping[str, object] | None,
    mirror_percents: Mapping[str, object] | None,
    *,
    by: User | None,
    based_on: int | None,
    note: str,
) -> OnlineEndpoint:
    locked = OnlineEndpoint.objects.select_for_update().get(pk=endpoint.pk)
    if locked.state == EndpointState.DELETING:
        raise Conflict(f"Endpoint '{locked.name}' is being deleted.", target="traffic")
    if based_on is not None and based_on != locked.revision:
        raise Conflict(_conflict_text(locked), code="TrafficChanged", target="traffic")
    upstreams = {
        upstream.deployment_name: upstream
        for upstream in locked.upstreams.all()
        if "." not in upstream.deployment_name
    }
    live = locked.traffic if percents is None else check_split(percents, upstreams)
    mirror_wish = locked.mirror_traffic if mirror_percents is None else mirror_percents
    mirror = check_mirror(mirror_wish, upstreams, live)
    before = {"traffic": locked.traffic, "mirror_traffic": locked.mirror_traffic}
    after = {"traffic": live, "mirror_traffic": mirror}
    if before == after:
        return locked
    for name in live:
        if not locked.traffic.get(name) and not upstreams[name].addresses:
            raise Conflict(
                f"Deployment '{name}' is not ready, so it cannot get traffic yet. Wait until it has Succeeded.",
                code="DeploymentNotReady",
                target=f"traffic.{name}",
            )
    locked.traffic, locked.mirror_traffic = live, mirror
    locked.revision += 1
    locked.updated_at = timezone.now()
    locked.save(update_fields=["traffic", "mirror_traffic", "revision", "updated_at"])
    publish.touch(locked)
    record(
        locked.workspace,
        "update traffic",
        locked,
        by=by,
        endpoint_name=locked.name,
        before=before,
        after=after,
        note=note,
    )
    return locked


def _unknown(name: object, known: Iterable[str]) -> str:
    names = ", ".join(sorted(known)) or "none yet"
    return f"Deployment '{name}' does not exist under this endpoint. Its deployments: {names}."


def _conflict_text(endpoint: OnlineEndpoint) -> str:
    last = (
        endpoint.workspace.activities.filter(endpoint_name=endpoint.name, verb="update traffic")
        .select_related("actor")
        .first()
    )
    split = describe(endpoint.traffic)
    if last is None:
        return f"Endpoint '{endpoint.name}' was changed meanwhile; its traffic is {split}. Look, then apply again."
    who = last.actor.get_username() if last.actor else "Portico"
    seconds = max(0, round((timezone.now() - last.at).total_seconds()))
    return f"{who} changed the traffic {seconds} s ago to {split}. Use theirs, or apply yours on top of it."


def describe(split: Mapping[str, int]) -> str:
    """`blue 90 %, green 10 %`, or `no traffic`."""
    return ", ".join(f"{name} {percent} %" for name, percent in split.items()) or "no traffic"
