"""Client verbs: the commands of `az ml` on knack, the library that az is made with."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from knack import CLI
from knack.arguments import CLICommandArgument
from knack.commands import CLICommand, CLICommandsLoader
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS, EVENT_INVOKER_TRANSFORM_RESULT
from knack.help import CLIHelp
from knack.help_files import helps
from knack.log import get_logger
from knack.prompting import NoTTYException, prompt_y_n
from knack.util import CLIError

from cli import pages, profiles, settings
from cli.faults import FAILED, INTERRUPTED, ClientFault, UsageFault
from cli.table import LOCAL, Argument, Command, argument, load
from cli.tables import commands, groups

logger = get_logger(__name__)

WELCOME = """
Portico's client commands are those of 'az ml': with 'alias az=portico' your scripts run as they are.

    portico login --url https://localhost:8443
    portico ml online-endpoint create -f endpoint.yml
    portico ml online-deployment create -f blue-deployment.yml --all-traffic
    portico ml online-endpoint invoke -n my-endpoint -r request.json
"""
SCOPE = (
    argument("resource_group", "--resource-group", "-g", help="Resource group of the workspace."),
    argument("workspace", "--workspace-name", "-w", help="Workspace."),
    argument("subscription", help="Subscription of the workspace."),
    argument("profile", help="Profile of 'portico login' to use for this command."),
)
# Ids, which as a whole are wider than a terminal: of versions of assets, and of all else.
VERSION_ID = re.compile(r"^(?:azureml:)?/subscriptions/.*/([^/]+)/versions/([^/]+)$")
OTHER_ID = re.compile(r"^(?:azureml:)?/subscriptions/.*/([^/]+)$")
# `-o json`, `-ojson`, `--output=json`, `--out json`; not `--only-show-errors`.
OUTPUT_FLAG = re.compile(r"-o|--ou")
# Where the SDK says of its own classes that they may change, which no user of a command can act upon.
EXPERIMENTAL = "azure.ai.ml._utils._experimental"
WORKSPACES = "ml workspace "
FOLDED = ("adds", "removes")
WEB, REGISTRY = "web", "registry_name"
NO_REGISTRIES = (
    "--registry-name: there are no registries here. Leave it out, and the asset is one of the workspace. Curated "
    "environments go by azureml://registries/azureml/environments/<name>/labels/latest."
)
LOCAL_ONLY = ("vscode_debug", "local_enable_gpu")
YES = argument("yes", "--yes", "-y", action="store_true", help="Do not ask for confirmation.")


def run(verb: str, arguments: list[str]) -> int:
    """Carry out one client command; the exit code."""
    is_debug = "--debug" in arguments
    if not is_debug:
        # Of the SDK: experimental classes, deprecations. They tell users nothing.
        warnings.simplefilter("ignore")
    logging.getLogger(EXPERIMENTAL).setLevel(logging.NOTSET if is_debug else logging.ERROR)
    try:
        return int(Portico().invoke([verb, *arguments]))
    except SystemExit as end:
        # argparse: 0 after help, 2 for a command line it does not understand.
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Such as `… | head`; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


class Portico(CLI):  # type: ignore[misc]
    """knack's driver with our table, our texts and our exit codes."""

    def __init__(self) -> None:
        super().__init__(
            cli_name="portico",
            config_dir=str(profiles.folder()),
            config_env_var_prefix=settings.PREFIX,
            commands_loader_cls=Loader,
            help_cls=Help,
            # knack's own default is what this was when knack was imported.
            out_file=sys.stdout,
        )
        self.words: list[str] = []
        self.register_event(EVENT_INVOKER_TRANSFORM_RESULT, add_resource_groups)
        self.register_event(EVENT_INVOKER_POST_PARSE_ARGS, leave_text_as_it_is)

    def exception_handler(self, ex: Exception) -> int:
        """Sentences for what users can put right, a traceback for what they cannot."""
        if isinstance(ex, ClientFault):
            logger.error(ex)
            return ex.exit_code
        if isinstance(ex, CLIError):
            logger.error(ex)
            return FAILED
        told: int | None = None
        if "azure.ai.ml" in sys.modules:
            told = load("cli.sdk_faults#tell")(ex, logger)
        if told is not None:
            return told
        return int(super().exception_handler(ex))

    def invoke(self, args: list[str], **options: Any) -> int:
        self.words = args
        code = int(super().invoke(args, **options))
        interrupted = self.result is not None and isinstance(self.result.error, KeyboardInterrupt)
        return INTERRUPTED if interrupted else code


class Help(CLIHelp):  # type: ignore[misc]
    def __init__(self, cli_ctx: CLI) -> None:
        for name, text in groups().items():
            helps[name] = f"type: group\nshort-summary: {json.dumps(text)}\n"
        super().__init__(cli_ctx=cli_ctx, welcome_message=WELCOME)


class Loader(CLICommandsLoader):  # type: ignore[misc]
    """Fills knack's table from ours; nothing of the SDK is imported until a command runs."""

    def load_command_table(self, args: list[str]) -> Any:
        for command in commands():
            self.command_table[command.name] = CLICommand(
                self.cli_ctx,
                command.name,
                handler_of(command),
                description=command.help,
                arguments_loader=_arguments_loader(command),
                table_transformer=_table(command.columns) if command.columns else None,
            )
            if command.examples:
                helps[command.name] = _help_text(command)
        return super().load_command_table(args)


def handler_of(command: Command) -> Callable[[dict[str, Any]], Any]:
    """What knack calls with the parsed arguments."""

    def handle(values: dict[str, Any]) -> Any:
        if command.question and not values.pop("yes"):
            confirm(command.question.format(**values))
        values = {**values, **command.given}
        if not command.is_remote:
            return load(command.handler)(**values)
        # The words of these are among those of --set.
        for name in FOLDED:
            values.pop(name, None)
        shows_page = values.pop(WEB, False)
        if values.pop(REGISTRY, None):
            raise UsageFault(NO_REGISTRIES)
        scope = {one.dest: values.pop(one.dest) or "" for one in SCOPE}
        if command.local and values.pop(LOCAL):
            if shows_page:
                raise UsageFault(
                    "--web shows a page of the portal, which knows nothing of --local."
                )
            return load(command.local)(scope, **values)
        for flag in LOCAL_ONLY:
            if values.pop(flag, False):
                raise UsageFault(f"--{flag.replace('_', '-')} goes with --local only.")
        # Who is not signed in need not wait for the SDK to load.
        profiles.current(scope["profile"])
        with load("cli.session#open_session")(**scope) as session:
            if not command.name.startswith(WORKSPACES):
                load("cli.session#require_workspace")(session)
            result = load(command.handler)(session, **values)
            if shows_page:
                noun = command.name.split()[1]
                facts = result if isinstance(result, Mapping) else values
                workspace = session.ml.workspace_name
                pages.show(pages.address(noun, session.profile.url, workspace, facts))
            return result

    return handle


def confirm(question: str) -> None:
    """Return if the user says yes."""
    try:
        if prompt_y_n(question):
            return
    except NoTTYException:
        raise ClientFault(
            "Nobody is there to confirm it (no terminal). Add --yes to go on without being asked."
        ) from None
    raise ClientFault("Operation cancelled.")


def add_resource_groups(_: Any, event_data: dict[str, Any]) -> None:
    """As az does: whatever has an id below a resource group says which one it is."""

    def visit(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            words = str(value.get("id", "")).split("/")
            if len(words) > 4 and words[3].lower() == "resourcegroups":
                value["resourceGroup"] = words[4]
            for item in value.values():
                visit(item)

    visit(event_data["result"])


def leave_text_as_it_is(cli: Portico, command: str, **_: Any) -> None:
    """A log is for people to read; as JSON it would be one line. Who names a format gets that."""
    is_text = any(row.is_text for row in commands() if row.name == command)
    is_named = any(OUTPUT_FLAG.match(word) for word in cli.words)
    if is_text and not is_named and not cli.config.get("core", "output", fallback=""):
        # Of a text this makes the text.
        cli.invocation.data["output"] = "tsv"


def _arguments_loader(command: Command) -> Callable[[], dict[str, CLICommandArgument]]:
    def arguments() -> dict[str, CLICommandArgument]:
        rows: tuple[Argument, ...] = command.arguments
        if command.question:
            rows = (*rows, YES)
        if command.is_remote:
            rows = (*rows, *SCOPE)
        return {row.dest: _knack_argument(row) for row in rows}

    return arguments


def _knack_argument(row: Argument) -> CLICommandArgument:
    made = CLICommandArgument(row.dest, options_list=list(row.flags), help=row.help, **row.options)
    if not row.flags:
        # Without flags knack makes one up; it takes this for a positional argument.
        made.options_list = []
    return made


def _table(columns: Mapping[str, str]) -> Callable[[Any], Any]:
    """Rows for `-o table` of one thing or a list of them."""

    def transform(result: Any) -> Any:
        if isinstance(result, list):
            return [transform(item) for item in result]
        return {name: cell(result, path) for name, path in columns.items()}

    return transform


def cell(result: Mapping[str, Any], path: str) -> Any:
    """The first of `a.b|c` that is there; maps as `key=value …`."""
    for way in path.split("|"):
        found: Any = result
        for key in way.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            return " ".join(f"{key}={value}" for key, value in found.items())
        if found is not None:
            return short_id(found) if isinstance(found, str) else found
    return ""


def short_id(text: str) -> str:
    """`name:version` or the name of an id; anything else as it is."""
    return OTHER_ID.sub(r"\1", VERSION_ID.sub(r"\1:\2", text))


def _help_text(command: Command) -> str:
    lines = ["type: command", f"short-summary: {json.dumps(command.help)}", "examples:"]
    for example in command.examples:
        title, _, text = example.partition(": ")
        lines += [f"  - name: {json.dumps(title)}", f"    text: {json.dumps(text)}"]
    return "\n".join(lines)
