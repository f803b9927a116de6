"""Engines of attached computes: what may be said of one, and who may say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.factories import Cast, make_cast, make_user
from workspaces.compute_engines import EngineSpec, check_address, kept_addresses
from workspaces.computes import (
    ComputeSpec,
    create_compute,
    delete_compute,
    spec_of,
    update_compute,
)
from workspaces.errors import Forbidden, UserError, ValidationFailed
from workspaces.models import Activity, Compute, User

pytestmark = pytest.mark.django_db
EDGE = ComputeSpec(name="edge", kind="kubernetes")
HERE = EngineSpec("here", "unix:///var/run/docker.sock")


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def operator() -> User:
    return make_user("olga", is_superuser=True)


def test_an_operator_attaches_a_compute_with_engines_and_changes_them(
    cast: Cast, operator: User
) -> None:
    far = EngineSpec("far", "ssh://box@10.0.0.7", most_cores=8.0, most_memory_bytes=2**34)
    made = create_compute(cast.workspace, replace(EDGE, engines=(far, HERE)), by=operator)
    assert spec_of(made).engines == (far, HERE)
    rows = {row.name: row.pk for row in made.engines.all()}

    closed = replace(HERE, name="HERE", is_schedulable=False)
    update_compute(made, replace(spec_of(made), engines=(closed,)), by=operator)
    (row,) = made.engines.all()
    assert (row.pk, row.name, row.is_schedulable) == (rows["here"], "HERE", False)

    # Members read the activity: it has no addresses.
    told = Activity.objects.filter(verb="update").get()
    assert told.after == {
        "engines": [
            {
                "name": "HERE",
                "most_cores": None,
                "most_memory_bytes": None,
                "is_schedulable": False,
            }
        ]
    }
    assert "10.0.0.7" not in str([vars(each) for each in Activity.objects.all()])


@pytest.mark.parametrize("change", [{"engines": (HERE,)}, {"runtime": "process"}])
def test_only_an_operator_says_where_a_compute_runs(
    cast: Cast, operator: User, change: dict[str, Any]
) -> None:
    with pytest.raises(
        Forbidden, match="Only an administrator of this installation decides where"
    ):
        create_compute(cast.workspace, replace(EDGE, **change), by=cast.alice)
    made = create_compute(cast.workspace, EDGE, by=cast.alice)
    with pytest.raises(Forbidden):
        update_compute(made, replace(EDGE, **change), by=cast.alice)
    update_compute(made, replace(spec_of(made), **change), by=operator)

    made.refresh_from_db()
    # What she does not change is not hers to ask for.
    update_compute(made, replace(spec_of(made), description="in the cellar"), by=cast.alice)
    made.refresh_from_db()
    assert made.description == "in the cellar"


def test_a_compute_with_engines_is_deleted_by_operators(cast: Cast, operator: User) -> None:
    made = create_compute(cast.workspace, replace(EDGE, engines=(HERE,)), by=operator)
    with pytest.raises(Forbidden):
        delete_compute(made, by=cast.alice)
    delete_compute(made, by=operator)
    assert not Compute.objects.exists()


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"name": "-x"}, "engines.-x"),
        ({"name": "a b"}, "engines.a b"),
        ({"url": ""}, "engines.here.url"),
        ({"url": "http://10.0.0.7:2375"}, "engines.here.url"),
        ({"most_cores": 0.0}, "engines.here.maxCores"),
        ({"most_memory_bytes": 1}, "engines.here.maxMemoryBytes"),
        ({"cert_path": "/etc"}, "engines.here.certPath"),
        ({"url": "tcp://10.0.0.7:2376", "cert_path": "certs"}, "engines.here.certPath"),
        ({"url": "tcp://10.0.0.7:2376", "cert_path": "/nowhere"}, "engines.here.certPath"),
    ],
)
def test_wrong_engines_are_refused_by_field(
    cast: Cast, change: dict[str, Any], target: str
) -> None:
    engine = replace(HERE, **change)
    with pytest.raises(UserError) as refused:
        create_compute(cast.workspace, replace(EDGE, engines=(engine,)), by=None)
    assert refused.value.target == target


@pytest.mark.parametrize(
    "url",
    [
        "unix://run/docker.sock",
        "unix:///",
        "tcp://10.0.0.7",
        "tcp://10.0.0.7:99999",
        "tcp://10.0.0.7:2375/containers",
        "tcp://me@10.0.0.7:2375",
        "ssh://",
        "ssh://me:secret@box",
        "ssh://-oProxyCommand=sh@box",
        "ssh://-oProxyCommand=sh",
        "ssh://box/path",
        "unix:///a b",
        "tcp://h:1?x=1",
    ],
)
def test_an_address_has_one_of_three_forms(url: str) -> None:
    with pytest.raises(UserError, match="An engine's address is unix:///path"):
        check_address(url)


@pytest.mark.parametrize("url", ["unix:///run/d.sock", "tcp://[::1]:2376", "ssh://me@box:2222"])
def test_addresses_that_are_right(url: str) -> None:
    check_address(url)


def test_a_certificate_folder_must_hold_all_three_files(cast: Cast, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    engine = EngineSpec("tls", "tcp://10.0.0.7:2376", str(tmp_path))
    with pytest.raises(UserError, match=r"cert\.pem, key\.pem is not in it"):
        create_compute(cast.workspace, replace(EDGE, engines=(engine,)), by=None)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    made = create_compute(cast.workspace, replace(EDGE, engines=(engine,)), by=None)

    # A folder that has gone is no obstacle to closing the engine.
    (tmp_path / "ca.pem").unlink()
    closed = replace(engine, is_schedulable=False)
    update_compute(made, replace(spec_of(made), engines=(closed,)), by=None)
    assert not made.engines.get().is_schedulable


def test_what_does_not_go_together_is_refused(cast: Cast) -> None:
    with pytest.raises(UserError, match="as processes of the portal's machine"):
        create_compute(cast.workspace, replace(EDGE, runtime="process", engines=(HERE,)), by=None)
    with pytest.raises(UserError, match="A cluster runs batch jobs only"):
        create_compute(cast.workspace, ComputeSpec(name="cpu", engines=(HERE,)), by=None)
    with pytest.raises(UserError, match="runtime is 'podman'"):
        create_compute(cast.workspace, replace(EDGE, runtime="podman"), by=None)
    with pytest.raises(UserError, match="engines has 'here' twice"):
        engines = (HERE, replace(HERE, name="Here"))
        create_compute(cast.workspace, replace(EDGE, engines=engines), by=None)
    with pytest.raises(ValidationFailed):
        wrong = EngineSpec("a b", "nowhere")
        create_compute(cast.workspace, replace(EDGE, engines=(wrong,)), by=None)


def test_engines_handed_back_without_addresses_keep_them() -> None:
    shown = EngineSpec("HERE", is_schedulable=False)
    assert kept_addresses([shown], [HERE]) == (replace(shown, url=HERE.url),)
    assert kept_addresses([EngineSpec("new")], [HERE]) == (EngineSpec("new"),)
