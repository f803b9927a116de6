"""What can be said of a scoring script without running it: its functions, and what it imports. Pure."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from deployments.environments.amending import package_of
from deployments.environments.requirements import canonical_name

# The worker puts these within reach of every script.
BROUGHT = {"azureml_inference_server_http", "inference_schema", "flask", "azureml"}
REQUIRED = ("init", "run")
# Parsing takes five hundred times as much memory. No scoring script of a person is that long.
LARGEST_PARSED_BYTES = 256 * 1024


@dataclass(frozen=True)
class Script:
    """Names bound at the top level, and the modules that are imported there by name."""

    bound: frozenset[str]
    modules: tuple[str, ...]
    has_star: bool

    @property
    def lacks(self) -> list[str]:
        """`init` and `run`, as far as they are missing for certain."""
        return [] if self.has_star else [name for name in REQUIRED if name not in self.bound]


def parse(source: bytes | str, name: str = "score.py") -> ast.Module:
    """The syntax tree; an empty one for a script too large to be looked at here.

    Raises `SyntaxError` or `ValueError`, as the compiler does.
    """
    if len(source) > LARGEST_PARSED_BYTES:
        return ast.Module(body=[], type_ignores=[])
    try:
        return ast.parse(source, filename=name)
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("it is nested too deeply") from error


def read_script(source: bytes | str) -> Script:
    """Raises `SyntaxError` or `ValueError`, as the compiler does."""
    if len(source) > LARGEST_PARSED_BYTES:
        return Script(frozenset(), (), has_star=True)
    bound: set[str] = set()
    modules: list[str] = []
    has_star = False
    for node in _top_level(parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {
                name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)
            }
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name for alias in node.names]
            bound |= set(names)
            has_star = has_star or "*" in names
            if isinstance(node, ast.Import):
                modules += [alias.name for alias in node.names]
            elif node.module and not node.level:
                modules.append(node.module)
    return Script(frozenset(bound), tuple(dict.fromkeys(modules)), has_star)


def unmet_imports(
    script: Script, installed: Iterable[str], siblings: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Imported modules that neither Python, nor the code folder, nor a package of that name brings.

    `(module, package)` each. A module may still come from a package of another name: a hint, no verdict.
    """
    names = {canonical_name(line) for line in installed}
    own = {path.split("/", 1)[0].removesuffix(".py") for path in siblings}
    found = []
    for module in script.modules:
        top = module.split(".", 1)[0]
        if top in sys.stdlib_module_names or top in own or top in BROUGHT:
            continue
        package = package_of(module)
        if not {canonical_name(package), canonical_name(top)} & names:
            found.append((top, package))
    return list(dict.fromkeys(found))


def _top_level(tree: ast.Module) -> Iterable[ast.stmt]:
    """Statements that run on import, those of `if`, `try` and `with` blocks included."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            handlers = node.handlers if isinstance(node, ast.Try) else []
            waiting[:0] = [*inner, *(statement for h in handlers for statement in h.body)]
