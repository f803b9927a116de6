"""`--add` and `--remove`: what becomes of a YAML dict."""

from __future__ import annotations

from typing import Any

import pytest

from cli.edits import Addition, Edit, Removal, edited
from cli.faults import UsageFault

VALUES: dict[str, Any] = {"tags": {"a": "1", "b": "2"}, "list": ["x", "y"], "name": "n"}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (Addition("tags", ("c=3", "a=0")), {"tags": {"a": "0", "b": "2", "c": "3"}}),
        (Addition("list", ("z",)), {"list": ["x", "y", "z"]}),
        (Addition("list", ("k=v", "l=w")), {"list": ["x", "y", {"k": "v", "l": "w"}]}),
        (Addition("list", ('{"k": [1]}',)), {"list": ["x", "y", {"k": [1]}]}),
        (Addition("new.inner", ("k=v",)), {"new": {"inner": {"k": "v"}}}),
        (Addition("more", ("z",)), {"more": ["z"]}),
        (Removal("tags.a", ()), {"tags": {"b": "2"}}),
        (Removal("list", ("0",)), {"list": ["y"]}),
    ],
)
def test_an_object_or_a_list_is_changed_and_the_given_one_stays(
    edit: Edit, changed: dict[str, Any]
) -> None:
    before = str(VALUES)
    assert edited(VALUES, ["name=set later", edit]) == VALUES | changed
    assert str(VALUES) == before


@pytest.mark.parametrize(
    "edit",
    [
        Addition("tags", ()),
        Addition("tags", ("word",)),
        Addition("name", ("k=v",)),
        Addition("name.inner", ("k=v",)),
        Removal("tags.c", ()),
        Removal("none.c", ()),
        Removal("list", ("2",)),
        Removal("list", ("first",)),
        Removal("tags", ("0",)),
    ],
)
def test_what_cannot_be_is_refused_with_its_flag_and_path(edit: Addition | Removal) -> None:
    flag = "--add" if isinstance(edit, Addition) else "--remove"
    with pytest.raises(UsageFault, match=f"{flag} {edit.path}"):
        edited(VALUES, [edit])
