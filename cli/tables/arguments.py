"""Options that several commands share, in the words of `az ml`."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from cli.edits import Addition, Removal
from cli.table import Argument, argument, required, switch


class Pairs(Action):
    """`team=red cost=low` as a dict."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        found = dict(getattr(namespace, self.dest) or {})
        for word in [values] if isinstance(values, str) else values or []:
            name, sign, value = str(word).partition("=")
            if not sign or not name:
                raise ArgumentError(self, f"'{word}' must be key=value")
            found[name] = value
        setattr(namespace, self.dest, found)


class Percents(Action):
    """`"blue=90 green=10"`, in one word of the command line or several, as whole numbers."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        found = {}
        for word in " ".join([values] if isinstance(values, str) else values or []).split():
            name, _, value = word.strip(",").partition("=")
            if not name or not value.isdecimal():
                raise ArgumentError(
                    self, f"'{word}' must be deployment=percent, such as \"blue=90 green=10\""
                )
            found[name] = int(value)
        setattr(namespace, self.dest, found)


class Adds(Action):
    """`--add tags team=red`, kept with the words of `--set`."""

    kind: type[Addition | Removal] = Addition

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        path, *words = [values] if isinstance(values, str) else map(str, values or [""])
        namespace.sets = [*(namespace.sets or []), self.kind(path, tuple(words))]


class Removes(Adds):
    """`--remove tags.team`."""

    kind = Removal


FILE = argument("file", "--file", "-f", help="YAML file.", metavar="PATH")
SETS = argument(
    "sets",
    "--set",
    help="Change what the file says: --set instance_count=2 tags.team=red. May be repeated.",
    nargs="+",
    action="extend",
    metavar="KEY=VALUE",
)
ADD = argument(
    "adds",
    "--add",
    help="Add to a list or to an object: --add tags team=red. May be repeated.",
    nargs="+",
    action=Adds,
    metavar="WORD",
)
REMOVE = argument(
    "removes",
    "--remove",
    help="Take away a property, or an item of a list by its number: --remove tags.team. May be repeated.",
    nargs="+",
    action=Removes,
    metavar="WORD",
)
CHANGES = (SETS, ADD, REMOVE)
REGISTRY = argument("registry_name", help="Refused: there are no registries here.")
WEB = switch("web", help="Print the address of its page in the studio, and open it.")
TAGS = argument(
    "tags", help="Tags: --tags team=red cost=low.", nargs="*", action=Pairs, metavar="KEY=VALUE"
)
DESCRIPTION = argument("description", help="Description.")
NO_WAIT = switch("no_wait", help="Do not wait for the operation to end.")
LOCAL = switch("local", help="On this machine, with no portal.")
VSCODE = switch(
    "vscode_debug",
    help="With --local: refused, as it needs a container; says how to debug without.",
)
LOCAL_GPU = switch("local_enable_gpu", help="With --local: let the server see the GPU.")
SKIP_SCRIPT = switch("skip_script_validation", help="Do not check the scoring script beforehand.")
ENDPOINT = argument(
    "endpoint_name", "--endpoint-name", "--endpoint", "-e", help="Name of the endpoint."
)
DEPLOYMENT = argument(
    "deployment_name",
    "--deployment-name",
    "--deployment",
    "-d",
    help="This deployment, whatever its share.",
)
MODEL = argument("model", help="Registered model such as my-model:1, or a file or folder.")
ENVIRONMENT = argument(
    "environment", help="Registered environment such as my-env:1 or my-env, or a YAML file."
)
CODE = argument("code", help="Folder with the scoring script.", metavar="PATH")
SCRIPT = argument(
    "scoring_script",
    help="Python file with init() and run(); its folder is the code unless --code names one.",
)
INSTANCE_TYPE = argument("instance_type", help="Size of an instance, such as Standard_DS3_v2.")
INSTANCE_COUNT = argument("instance_count", help="Number of instances.", type=int)
VERSION = argument("version", "--version", "-v", help="Version.")
LABEL = argument("label", "--label", "-l", help="Label in place of a version: latest.")
MAX_RESULTS = argument("max_results", "--max-results", "-r", help="At most so many.", type=int)
ARCHIVED_ONLY = switch("archived_only", help="Only what was archived.")
INCLUDE_ARCHIVED = switch("include_archived", help="What was archived, too.")
DOWNLOAD_PATH = argument(
    "download_path",
    "--download-path",
    "-p",
    help="Folder to write to.",
    default=".",
    metavar="PATH",
)


def name(of: str) -> Argument:
    return argument("name", "--name", "-n", help=f"Name of the {of}.")


def name_required(of: str) -> Argument:
    return required(name(of))
