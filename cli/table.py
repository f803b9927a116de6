"""Client commands as data: what `--help` and the parser need, and which code a command loads when it runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

LOCAL = "local"
"""The argument by which a command is carried out on this machine, with no portal."""


@dataclass(frozen=True)
class Argument:
    """One option: where its value goes, its flags, and what argparse is told."""

    dest: str
    flags: tuple[str, ...]
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One leaf of the tree, such as `ml model create`."""

    name: str
    help: str
    handler: str
    """`module#function`; a command of `ml` gets the session first, then its arguments by name."""
    arguments: tuple[Argument, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments for the handler, the same on each call."""
    question: str = ""
    """Asked before, unless `--yes`; `{name}` and the like stand for arguments."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For `-o table`: heading → where the cell is: `a.b|c` is the first that is there."""
    examples: tuple[str, ...] = ()
    is_text: bool = False
    """Its answer is a text to read: printed as it is, unless `-o` or the configuration names a format."""
    local: str = ""
    """The handler in place of the other when `--local` is given; it gets where to sign in, then its arguments."""

    @property
    def is_remote(self) -> bool:
        return self.name.startswith("ml ")


def argument(dest: str, *flags: str, help: str, **options: Any) -> Argument:
    """The flag is `--dest` if none is named."""
    return Argument(dest, flags or (f"--{dest.replace('_', '-')}",), help, options)


def switch(dest: str, *flags: str, help: str) -> Argument:
    return argument(dest, *flags, help=help, action="store_true")


def positional(dest: str, *, help: str, **options: Any) -> Argument:
    return Argument(dest, (), help, options)


def required(one: Argument) -> Argument:
    return Argument(one.dest, one.flags, one.help, {**one.options, "required": True})


def load(place: str) -> Callable[..., Any]:
    """The function that `module#function` names; its module is imported only now."""
    module, _, name = place.partition("#")
    if module not in sys.modules:
        # A fifth of the time that the SDK needs to load would go into looking for garbage, of which it makes none.
        gc.disable()
        try:
            import_module(module)
        finally:
            gc.freeze()
            gc.enable()
    found: Callable[..., Any] = getattr(sys.modules[module], name)
    return found
