"""Reads YAML that people hand in, without what makes a short text grow huge when it is read."""

from __future__ import annotations

from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node

MERGE_TAG = "tag:yaml.org,2002:merge"


class WithoutMerges(yaml.SafeLoader):
    """Refuses `<<`: each level of it may multiply the one below."""

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, _value in node.value:
            if key.tag == MERGE_TAG:
                raise yaml.MarkedYAMLError(
                    problem="merge keys ('<<') are not taken: write the entries out",
                    problem_mark=key.start_mark,
                )


class WithoutAliases(WithoutMerges):
    """Refuses `*name` too: what is read is then never larger than what was written."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            event = cast(Any, self).peek_event()
            raise yaml.MarkedYAMLError(
                problem="aliases ('*name') are not taken: write the value out",
                problem_mark=event.start_mark,
            )
        found: Node | None = super().compose_node(parent, index)
        return found


def load(text: str | bytes, *, may_alias: bool = False) -> Any:
    """The document's plain values. Raises `yaml.YAMLError`, also for what is nested too deeply."""
    loader = WithoutMerges if may_alias else WithoutAliases
    try:
        return yaml.load(text, Loader=loader)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, a 31 February
        raise yaml.YAMLError(str(error)) from error
