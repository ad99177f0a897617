"""The texts that a chat template looks for in messages: a message that has one may be shown in another way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import SandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jinja2.parser import Parser

STRIPS = frozenset({"strip", "lstrip", "rstrip"})
"""Methods whose effect on a text is seen in the text that they leave."""

FILTERS = frozenset({"replace", "split"})
"""Filters that look for their arguments in a text."""

MARKUP = re.compile(r"[<>\[\]{}|/#@]")


@dataclass(frozen=True)
class Telling:
    """The texts that a chat template searches for in a message, or compares a message with.

    Args:
        parts: Texts that it looks for within others.
        wholes: Texts that it compares others with.
    """

    parts: tuple[str, ...]
    wholes: frozenset[str]

    def are_in(self, contents: Sequence[str]) -> bool:
        """Whether one of these texts has any of them."""
        joined = "\0".join(contents)
        return any(part in joined for part in self.parts) or not self.wholes.isdisjoint(contents)


def telling_in(source: str) -> Telling | None:
    """What tells this template something; None if it can't be read."""
    environment = SandboxedEnvironment(extensions=["jinja2.ext.loopcontrols", _Marks])
    try:
        tree = environment.parse(source)
    except TemplateError:
        return None
    compared = [word for node in tree.find_all(nodes.Compare) for word in _compared(node)]
    called = [word for node in tree.find_all(nodes.Call) for word in _called(node)]
    filtered = [
        word for node in tree.find_all(nodes.Filter) if node.name in FILTERS for word in _words([node.node, *node.args])
    ]
    listed = [word for node in tree.find_all((nodes.Assign, nodes.List, nodes.Tuple)) for word in _listed(node)]
    looked_for = {word for word, within in compared if within} | {*called, *filtered, *listed}
    return Telling(tuple(sorted(looked_for - {""})), frozenset(word for word, within in compared if not within))


class _Marks(Extension):  # type: ignore[misc]  # the library has no types here
    """Reads the tag that marks what the assistant writes, which is no part of Jinja."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja wants it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


def _compared(node: nodes.Compare) -> Iterator[tuple[str, bool]]:
    """The words of a comparison, each with whether it is looked for within a text."""
    for operand in node.ops:
        if operand.op in ("in", "notin"):
            # `'content' in message` asks for a field of the message
            if not isinstance(operand.expr, nodes.Name) or not all(map(str.isidentifier, _words([node.expr]))):
                yield from ((word, True) for word in _words([node.expr]))
            for word in _words(getattr(operand.expr, "items", ())):
                yield word, False
        else:
            for word in _words([node.expr, operand.expr]):
                yield word, False
                if not word.isidentifier():
                    yield word, True  # a piece of a text may be compared


def _called(node: nodes.Call) -> list[str]:
    name = node.node.attr if isinstance(node.node, nodes.Getattr) else getattr(node.node, "name", "")
    if name in ("get", "raise_exception", "strftime_now"):  # they ask for a field, or tell something
        return []
    return [word for word in _words(node.args) if name not in STRIPS or word.strip()]


def _listed(node: Any) -> list[str]:
    """The words of a value that have a name or stand in a list, and may be looked for by it: those of markup."""
    values = [node.node] if isinstance(node, nodes.Assign) else node.items
    return [word for word in _words(values) if MARKUP.search(word)]


def _words(expressions: Sequence[Any]) -> list[str]:
    return [one.value for one in expressions if isinstance(one, nodes.Const) and isinstance(one.value, str)]
