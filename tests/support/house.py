"""The rules for the source of the product, as functions that find what breaks them; each gives messages."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.source_tree import SourceTree

JOINS = {"Path", "PurePath", "PurePosixPath", "joinpath", "with_name", "with_stem"}
AN_ID = re.compile(r"(?:.*_)?(?:id|ids|ref|name|filename|status|model|suffix)")
ESCAPES = {"urllib.parse.quote", "urllib.parse.quote_plus", "html.escape", "html", "xml.sax.saxutils.escape"}
MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:\w+)?")


@dataclass(frozen=True)
class Package:
    """One of the product's packages, and what it may import.

    Args:
        path: Its folder.
        ours: Which other packages of the product it may import.
        others: Which third-party packages it may import, anywhere in it.
        others_in: Those that only one part of it may import: part → packages.
    """

    path: Path
    ours: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    others_in: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """By which it is imported."""
        return self.path.name


def tree_of(packages: Sequence[Package], root: Path) -> SourceTree:
    """Read the packages; messages show paths below `root`."""
    return SourceTree(*(package.path for package in packages), root=root)


def part_of(module: str) -> str:
    """The module or folder right below the package: "flows" for "tuneway.flows.submit", "" for "tuneway"."""
    return module.partition(".")[2].partition(".")[0]


def same_package_and_part(module: str) -> str:
    """The first two names: files for which this is equal belong to one part."""
    return ".".join(module.split(".")[:2])


def forbidden_imports(tree: SourceTree, package: Package) -> Iterator[str]:
    """Find what a package imports and may not."""
    everywhere = sys.stdlib_module_names | {package.name} | package.ours | package.others
    for source in tree:
        if source.package == package.name:
            allowed = everywhere | package.others_in.get(part_of(source.module), frozenset())
            for one in source.imports:
                if one.module.partition(".")[0] not in allowed:
                    yield f"{tree.place(source, one.line)} imports {one}"


def forbidden_names(tree: SourceTree, package: Package) -> Iterator[str]:
    """Find strings that name a module of a package of the product that this one may not import."""
    for source in tree:
        if source.package == package.name:
            for line, text in source.strings:
                named = re.split(r"[.:]", text)[0]
                if MODULE_NAME.fullmatch(text) and named in tree.packages - {package.name} - package.ours:
                    yield f"{tree.place(source, line)} names {text}"


def upward_imports(tree: SourceTree, package: Package, floors: Sequence[set[str]]) -> Iterator[str]:
    """Find the imports within a package that lead from one of its parts to a part on a floor above."""
    floor = {part: number for number, parts in enumerate(floors) for part in parts}
    for source, one, home in tree.arrows():
        here, there = floor.get(part_of(source.module)), floor.get(part_of(home))
        if source.package == package.name and here is not None and there is not None and there > here:
            yield f"{tree.place(source, one.line)} imports {home}, a floor above"


def circles(tree: SourceTree, group: Callable[[str], str] = str) -> list[list[str]]:
    """Find files, or groups of files, that need each other: for each set of these, the imports that make it so."""
    arrows = [(source, one, home, group(source.module), group(home)) for source, one, home in tree.arrows()]
    below: dict[str, set[str]] = defaultdict(set)
    for *_, here, there in arrows:
        below[here] |= {there} - {here}
    reached = {here: _reachable(here, below) for here in list(below)}
    knots = {
        frozenset(there for there in reached[here] if here in reached.get(there, ()))
        for here in reached
        if here in reached[here]
    }
    return [
        [
            f"{tree.place(source, one.line)} imports {home}{', inside a function' if one.inside else ''}"
            for source, one, home, here, there in arrows
            if {here, there} <= knot and here != there
        ]
        for knot in sorted(knots, key=sorted)
    ]


def _reachable(start: str, below: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    left = [start]
    while left:
        new = below.get(left.pop(), set()) - reached
        reached |= new
        left += new
    return reached


def doubled_classes(tree: SourceTree) -> dict[str, list[str]]:
    """Find the class names that stand in more than one file: name → files. Classes inside others don't count."""
    places: dict[str, list[str]] = defaultdict(list)
    for source in tree:
        for name in source.classes:
            places[name].append(tree.place(source))
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


def paths_of_ids(tree: SourceTree, package: Package, safe: str) -> Iterator[str]:
    """Find paths that are joined with an id or a name that the function `safe` hasn't made the name of a file."""
    for source in tree:
        if source.package == package.name:
            for node in ast.walk(ast.parse(source.path.read_text(encoding="utf-8"))):
                for part in _joined(node):
                    if any(AN_ID.fullmatch(name) for name in _names(part, safe)):
                        yield f"{tree.place(source, part.lineno)} joins {ast.unparse(part)}"


def _joined(node: ast.AST) -> list[ast.expr]:
    """What a node joins to a path."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [node.right]
    is_join = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in JOINS
    return node.args if is_join else []  # type: ignore[attr-defined]


def _names(node: ast.AST, safe: str) -> Iterator[str]:
    """The last names of all values in an expression, but for those in a call of `safe`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == safe:
        return
    if isinstance(node, ast.Attribute):
        yield node.attr
        return
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        return
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        yield str(node.slice.value)
        return
    for child in ast.iter_child_nodes(node):
        yield from _names(child, safe)


def escaping(tree: SourceTree, home: str) -> Iterator[str]:
    """Find functions that escape text which are imported elsewhere than at the one place for it."""
    for source in tree:
        for one in source.imports:
            if str(one) in ESCAPES and source.module != home:
                yield f"{tree.place(source, one.line)} imports {one}"
