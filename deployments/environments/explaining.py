"""What uv printed, said in one sentence with evidence and fixes. Pure; tested on real outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from deployments.environments.conda import PREFERRED_PYTHONS
from deployments.environments.failures import (
    DISK_FIXES,
    MAX_EVIDENCE_CHARACTERS,
    MAX_EVIDENCE_LINES,
    BuildFailure,
    Fix,
    listed,
)
from deployments.environments.requirements import canonical_name

_FULL = re.compile(r"No space left on device|os error 28|Disk quota exceeded|os error 122", re.I)
_NETWORK = re.compile(
    r"Failed to fetch: `?(?P<url>\S+?)`?$|error sending request for url \((?P<sent>\S+?)\)|"
    r"(?P<dns>dns error|Connection refused|timed out|tcp connect error)",
    re.I | re.M,
)
_STATUS = re.compile(r"HTTP status (?:client|server) error \((?P<status>\d{3}) ", re.I)
_REFUSED = re.compile(
    r"An index URL \((?P<url>\S+)\) could not be queried.*?\((?P<status>40[13]) \w+\)"
)
_TLS = re.compile(r"invalid peer certificate|UnknownIssuer|certificate verify failed|CaUsedAsEnd")
_UNKNOWN = re.compile(
    r"\b(?P<name>[A-Za-z0-9._-]+) was not found in the (?:package registry|provided|cache)"
)
_NO_VERSION = re.compile(
    r"there (?:is|are) no versions? of "
    r"(?P<name>[A-Za-z0-9._-]+?)(?:\[[^\]]*\])?(?P<version>[=<>!~][^\s]*)"
)
_ONLY_OTHERS = re.compile(
    r"only (?P<there>[A-Za-z0-9._-]+[=<>!~]\S*) (?:is|are) available and you require "
    r"(?P<name>[A-Za-z0-9._-]+?)(?:\[[^\]]*\])?(?P<version>[=<>!~]\S*)"
)
_TWICE = re.compile(
    r"Because you require (?P<one>[A-Za-z0-9._-]+[=<>!~]\S*) and (?P<other>[A-Za-z0-9._-]+[=<>!~]\S*)"
)
_MARKER = re.compile(r"(?<=[A-Za-z0-9_.\]-])\{[^{}]*\}")
"""`numpy{python_full_version < '3.12'}>=1.23`: for whom uv looked; not what the file says."""
_REQUIRES_PYTHON = re.compile(
    r"the (?:current|requested) Python version \((?P<have>[\d.]+)\) does not satisfy "
    r"Python(?P<needs>[^\s]+) and (?P<package>\S+) depends on"
)
_NO_WHEEL = re.compile(
    r"(?:all versions of )?(?P<package>[A-Za-z0-9._-]+(?:[=<>!~][^\s]*)?) (?:has|have) no "
    r"(?:usable wheels|wheels with a matching (?:Python|platform)[^,]*?(?:tag|implementation))"
)
_TAGS = re.compile(
    r"we only found wheels for `(?P<name>[^`]+)` \(`?v?(?P<version>[^)`]+)`?\).*?tags?: "
    r"(?P<tags>.+)"
)
_DEPENDS = re.compile(
    r"(?P<package>[A-Za-z0-9._-]+(?:\[[^\]]*\])?(?:[=<>!~][^\s]*)?) depends? on (?P<need>[^\s]+)"
)
_YOU_REQUIRE = re.compile(
    r"(?<!conclude that )you require (?P<need>[A-Za-z0-9._-]+(?:\[[^\]]*\])?"
    r"(?:[=<>!~]\S*?)?)(?=,?\s|,?$|\.$|\.\s)"
)
_BUILD_OF = re.compile(r"Failed to (?:build|download and build|prepare)[^`]*`(?P<package>[^`]+)`")
_BUILD = re.compile(
    r"The build backend returned an error|Failed to build|build backend|"
    r"Failed to (?:resolve|install) requirements from `(?:setup\.py|build-system)"
)
_HEADER = re.compile(
    r"fatal error: (?P<header>\S+): No such file|(?P<tool>[\w./+-]+): command not found"
)
_RAISED = re.compile(r"\b(?P<raised>[A-Z]\w*(?:Error|Exception|Exit): .{1,160})")
_NO_COMPILER = re.compile(
    r"command '?(?P<tool>\S*(?:gcc|cc|g\+\+|clang))'? failed: No such file|unable to execute "
    r"'(?P<other>\S+)'"
)
_GIT = re.compile(r"Git operation failed")
_PARSE = re.compile(
    r"Couldn't parse requirement|Unexpected '|Expected `--hash`|Invalid (?:URL|requirement)"
)

_SERVER = "azureml-inference-server-http"


def explain(
    output: str,
    *,
    python: str = "",
    conda_names: Mapping[str, str] | None = None,
    requirements: Sequence[str] = (),
) -> BuildFailure:
    """The failure behind uv's `output` for `requirements` on the minor version `python`."""
    text = flatten(output)
    evidence = _evidence(output)
    conda = conda_names or {}
    failure = (
        _disk_full(text)
        or _unreachable(text)
        or _unknown_package(text, conda)
        or _python_mismatch(text, python, requirements, asked_only=True)
        or _missing_version(text)
        or _asked_twice(text)
        or _conflict(text, requirements)
        or _python_mismatch(text, python, requirements, asked_only=False)
        or _no_solution(text, requirements)
        or _source_build(text, python)
        or _other(text)
    )
    return replace(failure, evidence=evidence)


def without_wheels(output: str) -> tuple[str, ...]:
    """The packages that uv would take only if it might build them from source."""
    names = re.findall(r"(\S+) (?:has|have) no usable wheels", flatten(output))
    return tuple(dict.fromkeys(_spaced(name) for name in names))


def flatten(output: str) -> str:
    """uv's report without its drawing and line breaks: one sentence a line."""
    lines: list[str] = []
    for raw in output.splitlines():
        line = _MARKER.sub("", re.sub(r"\x1b\[[0-9;]*m", "", raw))
        bare = re.sub(r"^[\s\u00d7│╰├─▶]+", "", line).strip()
        starts = re.match(r"^(error|warning|hint|cause|And because|Because|Failed)\b", bare)
        bare = re.sub(r"^(error|cause):\s*", "", bare)
        if lines and bare and not starts and line[:1].isspace() and not lines[-1].endswith("."):
            lines[-1] += " " + bare
        elif bare:
            lines.append(bare)
    return "\n".join(lines)


def _disk_full(text: str) -> BuildFailure | None:
    if not _FULL.search(text):
        return None
    return BuildFailure(
        "DiskFull", "The disk filled up while the environment was built.", fixes=DISK_FIXES
    )


def _unreachable(text: str) -> BuildFailure | None:
    offline = "network was disabled" in text or "Network connectivity is disabled" in text
    if offline:
        found = _UNKNOWN.search(text)
        name = found["name"] if found else ""
        return BuildFailure(
            "ImageBuildFailure",
            f"This portal works offline and {name or 'a package'} is not in its store.",
            fixes=(
                Fix("Add the wheels to the package folder", "check_index", name),
                Fix("Retry", "retry"),
            ),
            culprits=(canonical_name(name),) if name else (),
        )
    tls, network = _TLS.search(text), _NETWORK.search(text)
    status = _REFUSED.search(text) or _STATUS.search(text)
    if not (tls or network or status):
        return None
    url = next((m[1] for m in re.finditer(r"(https?://[^\s`)]+)", text)), "")
    host = re.sub(r"^(https?://)(?:[^@/]*@)?([^/]+).*", r"\1\2", url) or "the package index"
    if tls:
        sentence = f"The certificate of {host} is not trusted by this portal."
        label = "Set the CA bundle"
    elif status and status["status"] in {"401", "403"}:
        sentence = (
            f"{host} refused the download with {status['status']}: "
            "credentials are missing or wrong."
        )
        label = "Check the index credentials"
    elif status:
        sentence = f"{host} answered with {status['status']}."
        label = "Check the package index"
    else:
        sentence = f"The package index {host} cannot be reached from this portal."
        label = "Check the package index"
    return BuildFailure(
        "ImageBuildFailure",
        sentence,
        fixes=(Fix("Retry", "retry"), Fix(label, "check_index", host)),
        is_transient=not tls and not (status and status["status"].startswith("4")),
    )


def _unknown_package(text: str, conda: Mapping[str, str]) -> BuildFailure | None:
    found = _UNKNOWN.search(text)
    if found is None:
        return None
    name = found["name"]
    origin = conda.get(canonical_name(name))
    if origin:
        sentence = f"conda package `{origin}` does not exist on the package index."
        label = f"Name the pip package for {origin}"
    else:
        sentence = f"Package `{name}` does not exist on the package index."
        label = f"Correct or remove {name}"
    return BuildFailure(
        "ImageBuildFailure",
        sentence,
        fixes=(
            Fix(label, "edit_environment", origin or name),
            Fix("View build log", "open_build_log"),
        ),
        culprits=(canonical_name(name),),
    )


def _python_mismatch(
    text: str, python: str, requirements: Sequence[str], *, asked_only: bool
) -> BuildFailure | None:
    """A package that this Python is too old or too new for; one asked for by name tells the most."""
    asked = set(_demands(text)) | {canonical_name(line) for line in requirements}
    for needs in _REQUIRES_PYTHON.finditer(text):
        if canonical_name(needs["package"]) in asked or not asked_only:
            return _wrong_python(text, needs, requirements)
    for wheel in _NO_WHEEL.finditer(text):
        if canonical_name(wheel["package"]) in asked or not asked_only:
            return _no_wheel(text, wheel["package"], python, requirements)
    return None


def _wrong_python(text: str, needs: re.Match[str], requirements: Sequence[str]) -> BuildFailure:
    have = ".".join(needs["have"].split(".")[:2])
    minor = re.match(r">=(\d+\.\d+)", needs["needs"])
    fixes = [Fix(f"Use Python {minor[1]}", "set_python", minor[1])] if minor else []
    return BuildFailure(
        "PythonMismatch",
        f"{_as_written(needs['package'], requirements)} needs Python {needs['needs']}, "
        f"but the environment uses {have}.{_server_note(text)}",
        fixes=(*fixes, Fix("Choose another version", "edit_environment", needs["package"])),
        culprits=(canonical_name(needs["package"]),),
    )


def _no_wheel(text: str, package: str, python: str, requirements: Sequence[str]) -> BuildFailure:
    tags = _TAGS.search(text)
    minors = _minors(tags["tags"]) if tags else []
    there = f"; there are wheels for {listed(minors)}" if minors else ""
    fixes = [Fix(f"Use Python {minors[-1]}", "set_python", minors[-1])] if minors else []
    return BuildFailure(
        "PythonMismatch",
        f"{_as_written(package, requirements)} has no wheel for {f'Python {python}' if python else 'this Python'} "
        f"on this machine{there}.",
        fixes=(*fixes, Fix("Choose another version", "edit_environment", package)),
        culprits=(canonical_name(package),),
    )


def _missing_version(text: str) -> BuildFailure | None:
    missing = _NO_VERSION.search(text) or _ONLY_OTHERS.search(text)
    if missing is None or _DEPENDS.search(text):
        return None
    name, version = missing["name"], missing["version"].rstrip(",")
    there = missing.groupdict().get("there")
    hint = f"; there is {_spaced(there.rstrip(','))}" if there else ""
    return BuildFailure(
        "ImageBuildFailure",
        f"There is no version of {name} that is {version} on the package index{hint}.",
        fixes=(
            Fix(f"Choose another version of {name}", "edit_environment", f"{name}{version}"),
            Fix("View build log", "open_build_log"),
        ),
        culprits=(canonical_name(name),),
    )


def _asked_twice(text: str) -> BuildFailure | None:
    """Two lines of the environment itself that exclude each other."""
    twice = _TWICE.search(text)
    if twice is None or canonical_name(twice["one"]) != canonical_name(twice["other"]):
        return None
    name = canonical_name(twice["one"])
    one, other = _spaced(twice["one"].rstrip(",")), _spaced(twice["other"].rstrip(",."))
    return BuildFailure(
        "ImageBuildFailure",
        f"{name} is asked for twice, and {one} and {other} exclude each other.",
        fixes=(Fix(f"Keep one line of {name}", "edit_environment", name),),
        culprits=(name,),
    )


def _conflict(text: str, requirements: Sequence[str]) -> BuildFailure | None:
    """Two sides that cannot both have their way: a wish of the file and a package, or two packages."""
    demands = _demands(text)
    pairs = [(m["package"], m["need"].rstrip(",")) for m in _DEPENDS.finditer(text)]
    for package, need in pairs:
        wanted = demands.get(canonical_name(need), "")
        is_other = canonical_name(package) != canonical_name(need)
        if wanted and is_other and not _is_satisfied(wanted, need):
            shown = _as_written(package, requirements)
            return _conflict_failure(
                f"{_spaced(wanted)} conflicts with {shown}: {shown} needs {_spaced(need)}.{_server_note(text)}",
                need,
                package,
                culprit=need,
            )
    for index, (package, need) in enumerate(pairs):
        for other, other_need in pairs[index + 1 :]:
            same_aim = canonical_name(need) == canonical_name(other_need) and need != other_need
            if same_aim and canonical_name(package) != canonical_name(other):
                return _conflict_failure(
                    f"{_as_written(package, requirements)} conflicts with "
                    f"{_as_written(other, requirements)}: the first needs "
                    f"{_spaced(need)}, the second {_spaced(other_need)}.{_server_note(text)}",
                    need,
                    other,
                    culprit=other,
                )
    return None


def _no_solution(text: str, requirements: Sequence[str]) -> BuildFailure | None:
    if "No solution found" not in text:
        return None
    asked = listed([_spaced(line) for line in requirements[:6]]) or "these packages"
    return _conflict_failure(
        f"No set of versions satisfies {asked} together.{_server_note(text)}", "", ""
    )


def _demands(text: str) -> dict[str, str]:
    """What the environment itself asks for, by canonical name."""
    needs = [match["need"].rstrip(",") for match in _YOU_REQUIRE.finditer(text)]
    return {canonical_name(need): need for need in needs}


def _is_satisfied(wanted: str, need: str) -> bool:
    """Whether the exact version in `wanted` fits `need`; False where that cannot be told."""
    exact = re.search(r"==\s*([^,*\s]+?)(\.\*)?$", wanted)
    try:
        return exact is not None and Requirement(need).specifier.contains(
            exact[1], prereleases=True
        )
    except (InvalidRequirement, InvalidVersion):
        return False


def _conflict_failure(sentence: str, need: str, package: str, culprit: str = "") -> BuildFailure:
    fixes = []
    if need:
        fixes.append(Fix(f"Use {need}", "set_pin", need))
    if package:
        fixes.append(
            Fix(f"Remove the pin of {canonical_name(package)}", "edit_environment", package)
        )
    fixes.append(Fix("View build log", "open_build_log"))
    culprits = (canonical_name(culprit),) if culprit else ()
    return BuildFailure("ImageBuildFailure", sentence, fixes=tuple(fixes[:3]), culprits=culprits)


def _server_note(text: str) -> str:
    if _SERVER not in text:
        return ""
    return f" {_SERVER} can be left out of the environment: this portal brings the server itself."


def _source_build(text: str, python: str) -> BuildFailure | None:
    if _GIT.search(text):
        return BuildFailure(
            "ImageBuildFailure",
            "A git address in the environment cannot be fetched from this portal.",
            fixes=(Fix("Use a released version", "edit_environment"), Fix("Retry", "retry")),
            is_transient=True,
        )
    if not _BUILD.search(text):
        return None
    of = _BUILD_OF.search(text)
    package = of["package"].split(" @ ")[0] if of else "A package"
    header, compiler = _HEADER.search(text), _NO_COMPILER.search(text)
    raised = list(_RAISED.finditer(text.split("\nhint: ")[0]))
    reason = ""
    if compiler:
        reason = (
            f": there is no compiler ({compiler['tool'] or compiler['other']}) on this machine"
        )
    elif header:
        reason = f": {header['header'] or header['tool']} is missing on this machine"
    elif raised:
        reason = f": {raised[-1]['raised'].rstrip('.')}"
    version = f" for Python {python}" if python else ""
    return BuildFailure(
        "ImageBuildFailure",
        f"{_spaced(package)} has no wheel{version} and its build from source failed{reason}.",
        fixes=(
            Fix("Choose a version with a wheel", "edit_environment", package),
            Fix("View build log", "open_build_log"),
        ),
    )


def _other(text: str) -> BuildFailure:
    first = next((line for line in text.splitlines() if not line.startswith("warning")), "")
    sentence = (
        first[:200].rstrip(".") or "The environment could not be built, and uv gave no reason"
    )
    kind = "edit_environment" if _PARSE.search(text) else "open_build_log"
    label = "Edit the environment" if kind == "edit_environment" else "View build log"
    return BuildFailure(
        "ImageBuildFailure", sentence + ".", fixes=(Fix(label, kind), Fix("Retry", "retry"))
    )


def _evidence(output: str) -> tuple[str, ...]:
    """The telling lines: from the last error on, without what merely repeats."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in output.splitlines()]
    lines = [line for line in lines if line.strip()]
    start = next(
        (i for i, line in enumerate(lines) if re.match(r"\s*(error|\u00d7)", line.strip())), None
    )
    if start is None:
        lines = lines[-MAX_EVIDENCE_LINES:]
    else:
        lines = lines[start:]
        if len(lines) > MAX_EVIDENCE_LINES:  # then uv's hint to developers is not what helps
            ends = [i for i, line in enumerate(lines) if line.startswith("hint:")]
            lines = lines[: ends[0]] if ends and ends[0] > 2 else lines
        if len(lines) > MAX_EVIDENCE_LINES:
            half = MAX_EVIDENCE_LINES // 2
            lines = [*lines[: half - 1], "…", *lines[-half:]]
    return tuple(line[:MAX_EVIDENCE_CHARACTERS] for line in lines)


def _as_written(package: str, requirements: Sequence[str]) -> str:
    """`package` as the user pinned it: uv shows `a==1.2.*` as the range of versions it found."""
    lines = [line for line in requirements if canonical_name(line) == canonical_name(package)]
    return next((_spaced(line) for line in lines if "==" in line), _spaced(package))


def _spaced(requirement: str) -> str:
    """`numpy==2.1.*` → `numpy 2.1`, `numpy>=1.21,<1.26` → `numpy >=1.21,<1.26`."""
    exact = re.fullmatch(
        r"([A-Za-z0-9._-]+(?:\[[^\]]*\])?)===?([^,*\s]+?)(\.\*)?", requirement.strip()
    )
    if exact:
        return f"{exact[1]} {exact[2]}"
    return re.sub(r"^([A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*([=<>!~])", r"\1 \2", requirement.strip())


def _minors(tags: str) -> list[str]:
    """`cp38`, `cp310` → 3.8, 3.10, in order; only those that deployments can run on."""
    numbers = sorted({int(number) for number in re.findall(r"cp3(\d+)", tags)})
    return [f"3.{number}" for number in numbers if f"3.{number}" in PREFERRED_PYTHONS]
