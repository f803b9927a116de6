"""`ml model`, `environment`, `data`, `component`: things with versions that never change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cli.table import Argument, Command, argument, required, switch
from cli.tables import arguments as a

GROUPS = {
    "ml model": "Models: files and folders, registered with name and version.",
    "ml environment": "Environments: images and packages that scripts run in.",
    "ml data": "Data: files, folders and addresses, registered with name and version.",
    "ml component": "Components: steps for pipelines, registered with name and version.",
}
ASSET = "cli.ml.assets#"
BUILD = "cli.ml.environment_builds#"
BUILD_COLUMNS = {
    "Id": "id",
    "State": "state",
    "Runtime": "runtime",
    "Python": "python",
    "SizeBytes": "sizeBytes",
    "Started": "startTime",
    "Ended": "endTime",
}
IMAGE = "cli.ml.images#"
IMAGE_COLUMNS = {
    "Key": "key",
    "Python": "python",
    "SizeBytes": "sizeBytes",
    "Used": "isUsed",
    "MadeFor": "madeFor",
}
COLUMNS = {
    "Name": "name",
    "Version": "version|latest_version",
    "Type": "type",
    "Description": "description",
}
PATH = argument("path", "--path", help="File or folder of this machine, or an azureml:// address.")


@dataclass(frozen=True)
class Kind:
    """A noun, and the flags by which one is made without a file."""

    noun: str
    flags: tuple[Argument, ...]
    example: str = ""


KINDS = (
    Kind(
        "model",
        (
            PATH,
            argument("type", "--type", "-t", help="custom_model, mlflow_model or triton_model."),
            argument("stage", "--stage", "-s", help="Such as Development or Production."),
            argument("datastore", help="Datastore to upload to."),
        ),
        "A folder: portico ml model create -n my-model -v 1 --path ./model",
    ),
    Kind(
        "environment",
        (
            argument("image", "--image", "-i", help="Image to build upon."),
            argument("conda_file", "--conda-file", "-c", help="Conda file.", metavar="PATH"),
            argument(
                "build_context",
                "--build-context",
                "-b",
                help="Folder with a Dockerfile.",
                metavar="PATH",
            ),
            argument(
                "dockerfile_path", "--dockerfile-path", help="The Dockerfile in that folder."
            ),
            argument("os_type", help="linux."),
            argument("datastore", help="Datastore to upload to."),
        ),
        "From a conda file: portico ml environment create -n my-env -c conda.yml -i "
        "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
    ),
    Kind(
        "data",
        (
            PATH,
            argument("type", "--type", "-t", help="uri_file, uri_folder or mltable."),
            argument("datastore", help="Datastore to upload to."),
        ),
        "A folder: portico ml data create -n my-data -v 1 --type uri_folder --path ./data",
    ),
    Kind("component", (argument("display_name", help="Name to show."),)),
)


def _commands(kind: Kind) -> Iterator[Command]:
    noun = kind.noun
    base = f"ml {noun}"
    given = {"kind": noun}
    which = (a.name_required(noun), a.VERSION, a.LABEL, a.REGISTRY)
    article = "an" if noun[0] in "aeiou" else "a"
    yield Command(
        f"{base} create",
        f"Register {article} {noun}.",
        f"{ASSET}create",
        (a.name(noun), a.VERSION, a.FILE, *kind.flags, a.DESCRIPTION, a.TAGS, a.SETS, a.REGISTRY),
        given,
        columns=COLUMNS,
        examples=(
            f"From a YAML file: portico ml {noun} create -f {noun}.yml",
            *([kind.example] if kind.example else []),
        ),
    )
    yield Command(
        f"{base} update",
        f"Change description and tags of {article} {noun}.",
        f"{ASSET}update",
        (*which, a.DESCRIPTION, a.TAGS, *a.CHANGES),
        given,
        columns=COLUMNS,
    )
    yield Command(
        f"{base} list",
        f"List names, or with --name the versions of one {noun}.",
        f"{ASSET}list_all",
        (a.name(noun), a.MAX_RESULTS, a.ARCHIVED_ONLY, a.INCLUDE_ARCHIVED, a.REGISTRY),
        given,
        columns=COLUMNS,
    )
    yield Command(
        f"{base} show",
        f"Show a version of {article} {noun}.",
        f"{ASSET}show",
        which,
        given,
        columns=COLUMNS,
    )
    for verb, text in (("archive", "Hide"), ("restore", "Show again")):
        yield Command(
            f"{base} {verb}",
            f"{text} {article} {noun} or a version of it in lists.",
            f"{ASSET}set_archived",
            which,
            {**given, "is_archived": verb == "archive"},
        )
    if noun in {"model", "component"}:
        yield Command(
            f"{base} download",
            f"Download the files of {article} {noun}.",
            f"{ASSET}download",
            (a.name_required(noun), required(a.VERSION), a.DOWNLOAD_PATH, a.REGISTRY),
            given,
        )


def _builds() -> Iterator[Command]:
    """Of environments: Portico's own."""
    base = "ml environment"
    which = (a.name_required("environment"), required(a.VERSION))
    number = argument("build", "--build", "-b", help="Its id; else the newest.", type=int)
    yield Command(
        f"{base} build",
        "Build an environment before a deployment asks for it, and show its log.",
        f"{BUILD}build",
        (*which, a.NO_WAIT),
        columns=BUILD_COLUMNS,
    )
    yield Command(
        f"{base} list-builds",
        "List the builds of an environment.",
        f"{BUILD}list_builds",
        which,
        columns=BUILD_COLUMNS,
    )
    yield Command(
        f"{base} get-build-log",
        "Print the log of a build.",
        f"{BUILD}get_build_log",
        (*which, number),
        is_text=True,
    )
    yield Command(
        f"{base} cancel-build",
        "Stop a build.",
        f"{BUILD}cancel_build",
        (*which, number),
        columns=BUILD_COLUMNS,
    )
    yield Command(
        f"{base} list-images",
        "List the images that were built for this workspace, with their sizes.",
        f"{IMAGE}list_all",
        (),
        columns=IMAGE_COLUMNS,
    )
    yield Command(
        f"{base} remove-unused-images",
        "Remove the images in which nothing runs, of all workspaces; for administrators.",
        f"{IMAGE}remove_unused",
        (),
        question="Remove all images of this installation in which nothing runs?",
    )
    yield Command(
        f"{base} check",
        "Show what an environment's packages are, without building it.",
        f"{BUILD}check",
        (*which, switch("resolve", help="Find the versions that fit together, too.")),
    )


COMMANDS = (*(command for kind in KINDS for command in _commands(kind)), *_builds())
