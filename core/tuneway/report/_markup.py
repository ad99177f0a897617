"""Safe markup: every text that isn't `Markup` is escaped before it becomes part of it."""

from __future__ import annotations

from tuneway._escape import html

_EMPTY = frozenset({"link", "meta"})
_SHAPES = frozenset({"circle", "path", "rect"})


class Markup(str):
    """Text that is already escaped markup."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Escape a text, so that it is safe between tags and in quoted attributes."""
    if isinstance(text, Markup):
        return text
    return Markup(html(text))


def h(name: str, /, *children: object, **attributes: object) -> Markup:
    """Make an element. Attributes that are None are left out; `class_` is class, `font_size` is font-size."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY or (name in _SHAPES and not children):
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Join pieces of markup; None is left out."""
    return Markup("".join(escape(child) for child in children if child is not None))
