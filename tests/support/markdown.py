"""What a reader of Markdown makes of a text."""

from __future__ import annotations

from markdown_it import MarkdownIt


def inner(source: str) -> list[tuple[str, str]]:
    """The inline tokens of a piece of Markdown: kind and content."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [(one.type, one.content) for block in reader.parse(source) for one in block.children or []]


def addresses(source: str) -> list[str]:
    """Where the links and images of a piece of Markdown lead; also what some readers make a link of."""
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = [one for block in reader.parse(source) for one in [block, *(block.children or [])]]
    leading = [one for one in tokens if one.tag in {"a", "img"} and one.attrs]
    plain = [one.content for one in tokens if one.type in {"text", "html_inline", "html_block"}]
    return [str(one.attrs.get("href") or one.attrs.get("src")) for one in leading] + [
        one for one in plain if "evil" in one
    ]
