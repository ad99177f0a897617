"""Elements that several sections of the page use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tuneway._words import shortened
from tuneway.report._markup import Markup, h, join

MOST = 50  # the most rows of a list; below them is the number of rows that are left out


def tag(words: str, *, good: bool = False) -> Markup:
    """Show a word in a small frame."""
    return h("span", shortened(words, 100), class_="tag good" if good else "tag")


def facts_list(facts: Mapping[str, object], *, name: str | None = None) -> Markup | None:
    """Show names with their values, without empty ones; `name` is a small heading."""
    known = [(key, value) for key, value in facts.items() if value is not None and value != ""]
    if not known:
        return None
    pairs = [h("div", h("dt", shortened(key, 100)), h("dd", _value(value), dir="auto")) for key, value in known]
    return join(h("h3", name) if name else None, h("dl", *pairs))


def table(heads: Sequence[str], rows: Iterable[Markup], *, numbers: int = 0) -> Markup:
    """Show a table. Its first `numbers` columns are narrow, for numbers."""
    cells = [
        h("th", head, scope="col", class_="number" if index < numbers else None) for index, head in enumerate(heads)
    ]
    body = h("table", h("thead", h("tr", *cells)), h("tbody", *rows))
    return h("div", body, class_="scroll", tabindex=0)


def more(total: int) -> Markup | None:
    """Say how many rows a list leaves out."""
    return h("p", f"and {total - MOST:,} more", class_="note") if total > MOST else None


def _value(value: object) -> object:
    return value if isinstance(value, Markup) else shortened(str(value), 500)
