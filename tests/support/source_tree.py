"""The source of the product as a graph: which file imports which.

Imports inside functions count; those that only a type checker reads don't. A name that a package's `__init__`
passes on belongs to the file that defines it, or else every package would be a circle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
DOTTED_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
ASKS_TYPE_CHECKER = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


@dataclass(frozen=True)
class Import:
    """One import: `import module`, or `from module import name`."""

    line: int
    module: str
    name: str = ""
    inside: bool = False

    def __str__(self) -> str:
        """As it is shown in a message."""
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass
class Source:
    """One file, read.

    Args:
        path: Where it is.
        module: Its name: "tuneway.flows.submit"; a package's is that of its `__init__`.
        imports: What it imports at run time.
        passed_on: For an `__init__`: which names it imports, from which module and by which name there.
        classes: The names of its classes, those inside classes and functions aside.
        strings: Its string constants, with their lines.
    """

    path: Path
    module: str
    imports: list[Import] = field(default_factory=list)
    passed_on: dict[str, tuple[str, str]] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    strings: list[tuple[int, str]] = field(default_factory=list)

    @property
    def package(self) -> str:
        """The package that it is in."""
        return self.module.partition(".")[0]


def read(path: Path, package: Path) -> Source:
    """Read one file of a package."""
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    is_package = parts[-1] == "__init__"
    parts = parts[:-1] if is_package else parts
    source = Source(path, ".".join(parts))
    above = parts if is_package else parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # a module with `__getattr__` imports when a name is first used: what, it tells type checkers, and its table says
    on_demand = any("__getattr__" in _assigned(node) for node in tree.body)
    for node, inside in _at_run_time(tree, types_too=on_demand):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            source.strings.append((node.lineno, node.value))
            if on_demand and DOTTED_NAME.fullmatch(node.value):
                source.imports.append(Import(node.lineno, node.value, inside=True))
        elif isinstance(node, ast.ClassDef) and not inside:
            source.classes.add(node.name)
        source.imports += _imports(node, above, inside=inside)
        if is_package and isinstance(node, ast.ImportFrom) and not inside:
            base = _base(node, above)
            source.passed_on |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
    return source


def _assigned(node: ast.stmt) -> set[str]:
    """The names that a statement gives a value."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _at_run_time(node: ast.AST, *, types_too: bool, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below this one, and whether it is inside a function or a class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ASKS_TYPE_CHECKER and not types_too:
            yield from _at_run_time(ast.Module(child.orelse, []), types_too=types_too, inside=inside)
        else:
            yield child, inside
            yield from _at_run_time(child, types_too=types_too, inside=inside or isinstance(child, SCOPES))


def _base(node: ast.ImportFrom, above: list[str]) -> str:
    """The absolute name of the module that names are imported from."""
    start = above[: len(above) + 1 - node.level] if node.level else []
    return ".".join([*start, *filter(None, [node.module])])


def _imports(node: ast.AST, above: list[str], *, inside: bool) -> Iterator[Import]:
    """What a node imports; `importlib.import_module("name")` does as well."""
    match node:
        case ast.Import():
            yield from (Import(node.lineno, alias.name, inside=inside) for alias in node.names)
        case ast.ImportFrom():
            base = _base(node, above)
            yield from (Import(node.lineno, base, alias.name, inside) for alias in node.names)
        case ast.Call(args=[ast.Constant(value=str(name)), *_]) if ast.unparse(node.func).endswith("import_module"):
            yield Import(node.lineno, name, inside=inside)


class SourceTree:
    """All files of several packages."""

    def __init__(self, *packages: Path, root: Path) -> None:
        self._root = root
        read_all = [read(path, package) for package in packages for path in sorted(package.rglob("*.py"))]
        self.sources = {source.module: source for source in read_all}
        self.packages = {package.name for package in packages}
        assert self.sources, "there are no sources here"

    def __iter__(self) -> Iterator[Source]:
        """Each file."""
        return iter(self.sources.values())

    def place(self, source: Source, line: int | None = None) -> str:
        """Where something is, for a message."""
        name = source.path.relative_to(self._root).as_posix()
        return name if line is None else f"{name}:{line}"

    def home(self, module: str, name: str = "") -> str | None:
        """The module of ours that an import leads to: the one that defines the name. None if it isn't ours."""
        seen: set[tuple[str, str]] = set()
        while (module, name) not in seen:
            seen.add((module, name))
            source = self.sources.get(module)
            if source and name in source.passed_on:
                module, name = source.passed_on[name]
            elif f"{module}.{name}" in self.sources:
                module, name = f"{module}.{name}", ""
        return module if module in self.sources else None

    def arrows(self) -> Iterator[tuple[Source, Import, str]]:
        """Each import of one file of ours by another: who, how, whom."""
        for source in self:
            for one in source.imports:
                home = self.home(one.module, one.name)
                if home is not None and home != source.module:
                    yield source, one, home
