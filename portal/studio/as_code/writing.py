"""How values are written down in YAML, Python and a shell. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import yaml

from portal.studio.as_code.place import API_VERSION, Place
from portal.studio.as_code.values import Local

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
WIDTH = 88
MOST_LISTED = 20


@dataclass(frozen=True)
class Entity:
    """A class of `azure.ai.ml.entities`, called with these keywords."""

    name: str
    fields: Mapping[str, Any]


@dataclass
class Program:
    """A Python program under way: statements, and the names that they need."""

    place: Place
    names: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    uses_files: bool = False

    def do(self, operation: str, *arguments: Any, **keywords: Any) -> None:
        """`ml.<operation>(…)`, waited for when it is a long one."""
        call = self.write(Entity(f"ml.{operation}", {"": arguments, **keywords}))
        waits = ".result()" if operation.partition(".")[2].startswith("begin_") else ""
        self.lines.append(f"{call}{waits}")

    def take(self, name: str, operation: str, *arguments: Any) -> None:
        call = self.write(Entity(f"ml.{operation}", {"": arguments}))
        self.lines.append(f"{name} = {call}")

    def set(self, target: str, value: Any) -> None:
        self.lines.append(f"{target} = {self.write(value)}")

    def files(self, local: Local) -> None:
        """Write what was typed in, so that the program needs nothing else."""
        for path, text in local.texts.items():
            whole = f"{local.path}/{path}"
            self.uses_files = True
            folder = self.write(whole.rpartition("/")[0])
            self.lines += [
                f"Path({folder}).mkdir(parents=True, exist_ok=True)",
                f"Path({self.write(whole)}).write_text({python_text(text)})",
            ]

    def write(self, value: Any) -> str:
        self.names |= {name for name in entities_in(value) if not name.startswith("ml.")}
        return python_source(value)

    @property
    def text(self) -> str:
        place = self.place
        imports = ["from azure.ai.ml import MLClient"]
        if self.uses_files:
            imports = ["from pathlib import Path", "", *imports]
        if self.names:
            names = ", ".join(sorted(self.names))
            line = f"from azure.ai.ml.entities import {names}"
            if len(line) > WIDTH:
                listed = "".join(f"    {name},\n" for name in sorted(self.names))
                line = f"from azure.ai.ml.entities import (\n{listed})"
            imports.append(line)
        client = [place.subscription, place.resource_group, place.workspace]
        parts = [
            *imports,
            "from azure.identity import DefaultAzureCredential",
            "",
            f"ml = MLClient(DefaultAzureCredential(), {', '.join(map(python_source, client))})",
            "",
            *self.lines,
        ]
        return "\n".join(parts) + "\n"


def python_source(value: Any, level: int = 0) -> str:
    """A literal or a call, on one line where it fits, else one item on each line."""
    pad, end = "    " * (level + 1), "    " * level
    if isinstance(value, Entity):
        marks = (f"{value.name}(", ")")
        positional = value.fields.get("", ())
        keywords = {name: item for name, item in value.fields.items() if name}
        items = [("", item) for item in positional]
        items += [(f"{name}=", item) for name, item in keywords.items()]
    elif isinstance(value, Mapping):
        marks = ("{", "}")
        items = [(f"{python_source(key)}: ", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        marks = ("[", "]")
        items = [("", item) for item in value]
    elif isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if value.isprintable() else repr(value)
    else:
        return repr(value)
    whole = marks[0] + ", ".join(f"{lead}{python_source(item)}" for lead, item in items) + marks[1]
    if len(whole) <= WIDTH - len(end) and "\n" not in whole:
        return whole
    inner = "".join(f"{pad}{lead}{python_source(item, level + 1)},\n" for lead, item in items)
    return f"{marks[0]}\n{inner}{end}{marks[1]}"


def python_text(text: str) -> str:
    """Lines of text as a literal that still reads as lines."""
    told = text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
    return f"'''\\\n{told}'''"


def entities_in(value: Any) -> Iterable[str]:
    if isinstance(value, Entity):
        yield value.name
        for item in value.fields.values():
            yield from entities_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from entities_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from entities_in(item)


def yaml_text(schema: str, values: Mapping[str, Any]) -> str:
    """A file for `-f`; what is empty is left out."""
    given = {"$schema": f"{SCHEMAS}/{schema}.schema.json", **without_empty(values)}
    text: str = yaml.dump(given, Dumper=Readable, sort_keys=False, allow_unicode=True, width=100)
    return text


class Readable(yaml.SafeDumper):
    """Several lines of text as a block; the same list twice without `&id001`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _present_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


Readable.add_representer(str, _present_text)
# The words of Django's choices.
Readable.add_multi_representer(str, _present_text)


def without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", {})}


def local_path(local: Local) -> str:
    """As YAML has it: relative to the file."""
    return f"./{local.path}"


def command(words: str, place: Place, **flags: str) -> Step:
    """`portico ml …` with its flags; empty ones are left out, and `_` stands for `-`."""
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(value)}"
        for name, value in flags.items()
        if value
    ]
    parts = [f"portico ml {words}", *given, place.flags]
    line = " ".join(parts)
    return Step(line if len(line) <= 100 else " \\\n  ".join(parts))


@dataclass(frozen=True)
class Step:
    """A shell command, and the text that it reads as it stands."""

    command: str
    text: str = ""
    mark: str = "EOF"

    def written(self, *, is_last: bool) -> str:
        """With the `&&` that makes the next step wait for it."""
        follow = "" if is_last else " &&"
        if not self.text:
            return f"{self.command}{follow}"
        mark = self.mark
        while mark in self.text.splitlines():
            mark += "_"
        end = "" if self.text.endswith("\n") else "\n"
        return f"{self.command} <<'{mark}'{follow}\n{self.text}{end}{mark}"


def script(*steps: Step) -> str:
    """Commands of which each needs the one before."""
    return "".join(f"{step.written(is_last=step is steps[-1])}\n" for step in steps)


def write_file(path: str, text: str) -> list[Step]:
    """Write the file, and make its folder first."""
    folder = path.rpartition("/")[0]
    make = [Step(f"mkdir -p {shlex.quote(folder)}")] if folder else []
    return [*make, Step(f"cat > {shlex.quote(path)}", text or "\n")]


def write_files(local: object) -> list[Step]:
    """Write what was typed in."""
    if not isinstance(local, Local):
        return []
    return [
        step
        for path, text in local.texts.items()
        for step in write_file(f"{local.path}/{path}", text)
    ]


def rest(place: Place, *steps: Step) -> str:
    """A shell script of `curl` commands; `$workspace` is the workspace's address."""
    trust = '\n    --cacert "$REQUESTS_CA_BUNDLE" \\' if place.ca_path else ""
    return f"""\
call() {{
  curl --silent --show-error --fail-with-body \\{trust}
    --header "Authorization: Bearer $PORTICO_TOKEN" --header 'Content-Type: application/json' "$@"
}}
workspace={shlex.quote(place.url + place.arm_id)}

{script(*steps)}"""


def request(method: str, path: str, body: Any = None) -> Step:
    """One request of `rest`; `path` is below the workspace."""
    start = f'call --request {method} "$workspace/{path}?api-version={API_VERSION}"'
    if body is None:
        return Step(start)
    return Step(f"{start} \\\n  --data-binary @-", pretty(body), "JSON")


def segment(name: str) -> str:
    """A name as a part of an address; nothing in it means anything to the shell."""
    return quote(name, safe="")


def pretty(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def upload(place: Place, local: Local) -> list[Step]:
    """Requests that put the files below `place.files_url`, under their own path."""
    base = f"{place.files_url}/{quote(local.path)}"
    if not local.is_folder:
        return [_put(local.path, base)]
    if local.inner and len(local.inner) <= MOST_LISTED:
        return [_put(f"{local.path}/{path}", f"{base}/{quote(path)}") for path in local.inner]
    folder = shlex.quote(local.path)
    return [
        Step(
            f"""(cd {folder} && find . -type f) | while read -r path; do
  call --header 'x-ms-blob-type: BlockBlob' --upload-file {folder}/"$path" {shlex.quote(base)}/"${{path#./}}"
done"""
        )
    ]


def _put(path: str, url: str) -> Step:
    return Step(
        f"call --header 'x-ms-blob-type: BlockBlob' --upload-file {shlex.quote(path)} \\\n"
        f"  {shlex.quote(url)}"
    )


def wait(path: str) -> Step:
    """Ask until no operation runs any more: `Creating`, `Updating` and their like end in `ing`."""
    ask = f'call "$workspace/{path}?api-version={API_VERSION}"'
    return Step(
        f"while {ask} |\n"
        """  grep --quiet --extended-regexp '"provisioningState": ?"[A-Z][a-z]+ing"'\n"""
        "do sleep 2; done"
    )
