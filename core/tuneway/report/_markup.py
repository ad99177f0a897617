"""Markup that can't be broken out of: whatever is not `Markup` already is escaped on its way in."""

from __future__ import annotations

import html
import re

# What XML 1.0 forbids, lone surrogates included: neither a browser nor a file can take them.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EMPTY = frozenset({"link", "meta"})
_SHAPES = frozenset({"circle", "path", "rect"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Any text, safe between tags and inside quoted attributes."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True))


def h(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Attributes that are None are left out; `class_` is class, `font_size` is font-size."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY or (name in _SHAPES and not children):
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Several pieces after one another; None is nothing."""
    return Markup("".join(escape(child) for child in children if child is not None))
