"""`portico <verb>`: the one console script. It loads what a verb needs only when that verb is called."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

SERVER = "cli.server"
CLIENT = "cli.client"


@dataclass(frozen=True)
class Verb:
    """One word after `portico`, and the module whose `run(verb, arguments)` carries it out."""

    help: str
    module: str


VERBS = {
    "up": Verb("start the whole portal here, and keep it running until Ctrl-C", SERVER),
    "restart": Verb("replace the control plane after an upgrade, while scoring goes on", SERVER),
    "sign-in-link": Verb("print a link that signs the administrator in, once", SERVER),
    "ca": Verb("print the path of the certificate that clients are to trust", SERVER),
    "sample": Verb("deploy a small sample model, to see everything work", SERVER),
    "doctor": Verb("check versions, ports, disk, processes and data; say what to do", SERVER),
    "prepare": Verb("migrate the database and collect static files ('up' does it)", SERVER),
    "stop-instances": Verb("stop all running instances of models", SERVER),
    "watch": Verb("follow logs and metrics, serve the gateway ('up' does it)", SERVER),
    "remove-unused-images": Verb("delete container images that no deployment runs in", SERVER),
    "migrate": Verb("bring the database to the installed version", SERVER),
    "createsuperuser": Verb("add an administrator", SERVER),
    "changepassword": Verb("set the password of a user", SERVER),
    "pg-path": Verb("print the folder of PostgreSQL's own programs, for backups", SERVER),
    "shell": Verb("a Python prompt with Portico's models", SERVER),
    "dbshell": Verb("a psql prompt on Portico's database", SERVER),
    "login": Verb("sign in to a portal, here or elsewhere, with an access token", CLIENT),
    "logout": Verb("forget a portal and its token", CLIENT),
    "account": Verb("the portals you are signed in to, and the one in use", CLIENT),
    "configure": Verb("remember a workspace: --defaults group=… workspace=…", CLIENT),
    "config": Verb("settings of the client commands", CLIENT),
    "ml": Verb("the commands of 'az ml': endpoints, deployments, models, jobs and more", CLIENT),
    "extension": Verb("for scripts that add az's ml extension: it is built in", CLIENT),
}
CLIENT_PARTS = ("knack", "azure.ai.ml")
CLIENT_MISSING = (
    "portico: the client commands need packages that are not installed: pip install 'portico-ml[cli]', or "
    "'make run' in the project's folder."
)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Carry out one command line; the exit code."""
    if not words or words[0] in {"help", "--help", "-h"}:
        print(help_text())
        return 0
    if words[0] in {"--version", "version"}:
        print(f"portico {installed_version()}")
        return 0
    name, *arguments = words
    verb = VERBS.get(name)
    if verb is None:
        print(f"portico: {unknown_text(name)}", file=sys.stderr)
        return 2
    if verb.module == CLIENT and not has_client():
        print(CLIENT_MISSING, file=sys.stderr)
        return 2
    code: int = importlib.import_module(verb.module).run(name, arguments)
    return code


def has_client() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in CLIENT_PARTS)
    except ModuleNotFoundError:
        # `azure` itself is not there.
        return False


def help_text() -> str:
    return "\n".join(
        [
            "Portico: Azure Machine Learning endpoints on your own machines.",
            "",
            "Usage: portico <verb> [options]        portico <verb> --help",
            "",
            "On the machine that runs the portal:",
            *_rows(SERVER),
            "",
            "On any machine, as with az:",
            *_rows(CLIENT),
            "",
            "Variables such as PORTICO_HOME and PORTICO_PORT are explained in docs/settings.md,",
            "the client commands in docs/cli.md.",
        ]
    )


def _rows(module: str) -> list[str]:
    width = max(map(len, VERBS)) + 2
    return [
        f"  {name:<{width}}{verb.help}" for name, verb in VERBS.items() if verb.module == module
    ]


def unknown_text(name: str) -> str:
    close = difflib.get_close_matches(name, VERBS, n=1)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"'{name}' is not a verb.{guess} 'portico --help' lists them all."


def installed_version() -> str:
    try:
        return version("portico-ml")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
