"""Zips, paths and YAML from people who mean harm, or whose upload broke off."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_django import Settings

from tests.factories import make_workspace
from workspaces import catalog, plain_yaml, storage
from workspaces.archives import put_zip
from workspaces.errors import UserError
from workspaces.models import ModelVersion

CENTRAL = b"PK\x01\x02"


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.STORAGE_ROOT = tmp_path / "store"
    return tmp_path / "store"


def made(
    *files: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED
) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return bytearray(buffer.getvalue())


def refusal(data: bytes | bytearray) -> str:
    with pytest.raises(UserError) as caught:
        put_zip(io.BytesIO(data))
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    [
        "../x", "/etc/passwd", "a/../../x", "..\\x", "C:\\x", "a\nb", ".", "a/..", "a" * 256,
        "é" * 128, "d/" * 512 + "x", "a\x7f\x1b[2J",
    ],
)  # fmt: skip
def test_a_path_with_tricks_is_refused_by_name(store: Path, name: str) -> None:
    assert "is not allowed" in refusal(made(("score.py", b"x"), (name, b"x")))
    assert not list(store.glob("trees/*/*"))


def test_links_passwords_and_bombs_are_refused(settings: Settings) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert "symbolic link" in refusal(made((link, b"/etc/passwd")))
    locked = made(("a", b"x"))
    locked[locked.rfind(CENTRAL) + 8] |= 1
    assert "encrypted" in refusal(locked)
    settings.MAX_UNPACKED_BYTES = 1_000_000
    bomb = made(("a", b"\0" * 2_000_000))
    assert "unpacks to 2000000 bytes" in refusal(bomb)
    # One that lies about its size.
    bomb[bomb.rfind(CENTRAL) + 24 : bomb.rfind(CENTRAL) + 28] = struct.pack("<I", 100)
    assert "damaged" in refusal(bomb)


def test_an_unknown_compression_is_said() -> None:
    odd = made(("a", b"hello" * 100))
    odd[8:10] = odd[odd.rfind(CENTRAL) + 10 : odd.rfind(CENTRAL) + 12] = struct.pack("<H", 99)
    assert "compression method is not supported" in refusal(odd)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_zip_is_never_a_failure_of_ours(compression: int) -> None:
    whole = made(("t/a.py", b"hello" * 100), ("t/b", b"x" * 1000), compression=compression)
    dice = random.Random(compression)
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        if dice.random() < 0.2:
            broken = broken[: dice.randrange(len(broken))]
        try:
            put_zip(io.BytesIO(broken))
        except UserError as error:
            assert error.message


def test_every_path_that_is_taken_can_be_laid_out(tmp_path: Path) -> None:
    longest = "/".join(["d" * 255] * 3 + ["é" * 127])
    content = storage.put_tree([(longest, io.BytesIO(b"x")), ("-rf", io.BytesIO(b"y"))])
    storage.materialise(content.content_hash, tmp_path / "out")
    assert (tmp_path / "out" / longest).read_bytes() == b"x"


@pytest.mark.parametrize("path", ["a\ud800", "a\x00b", ""])
def test_a_path_that_no_file_can_have_is_refused(path: str) -> None:
    with pytest.raises(UserError):
        storage.safe_path(path)


def doubling(levels: int, *, merge: bool) -> str:
    """A few hundred letters that stand for 9 to the power of `levels` values."""
    lines = ["a: &a {k: v}" if merge else "a: &a [x]"]
    for number in range(1, levels):
        below, here = chr(96 + number), chr(97 + number)
        many = ", ".join([f"*{below}"] * 9)
        lines.append(f"{here}: &{here} {{<<: [{many}]}}" if merge else f"{here}: &{here} [{many}]")
    return "\n".join(lines)


@pytest.mark.parametrize("merge", [True, False])
def test_yaml_that_grows_when_it_is_read_is_refused(merge: bool) -> None:
    with pytest.raises(yaml.YAMLError, match="are not taken"):
        plain_yaml.load(doubling(20, merge=merge))
    with pytest.raises(yaml.YAMLError, match="merge keys"):
        plain_yaml.load(doubling(20, merge=True), may_alias=True)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [id]",
        "[" * 100_000,
        "1" * 5000,
        "2020-02-31",
        "a: *b",
        "\x00",
    ],
)
def test_yaml_that_is_no_plain_value_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        plain_yaml.load(text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "flavors"),
    [
        ("flavors: {sklearn: {sklearn_version: 1.7.2}}", {"sklearn": {"version": "1.7.2"}}),
        ("flavors: {1: [], python_function: &a {x_version: [1]}, b: *a}",
         {"1": {"version": ""}, "python_function": {"version": ""}, "b": {"version": ""}}),
        (doubling(20, merge=False) + "\nflavors: {evil: {x_version: *t}}", {"evil": {"version": ""}}),
        (doubling(20, merge=True) + "\nflavors: *t", None),
        ("flavors: " + "[" * 50_000, None),
        ("flavors: []", None),
        ("- x", None),
    ],
)  # fmt: skip
def test_an_mlmodel_file_is_read_with_care(text: str, flavors: dict[str, object] | None) -> None:
    content = storage.put_tree([("MLmodel", io.BytesIO(text.encode()))])
    facts: dict[str, Any] = {
        "leaf": "m",
        "is_folder": True,
        "by": None,
        "type": ModelVersion.Type.MLFLOW,
    }
    if flavors is None:
        with pytest.raises(UserError, match="MLmodel"):
            catalog.register_model(make_workspace(), "m", content, **facts)
        return
    registered = catalog.register_model(make_workspace(), "m", content, **facts)
    assert registered.flavors == flavors
