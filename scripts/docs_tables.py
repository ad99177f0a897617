"""Write what the program knows into pages of the reference: a hook of mkdocs.

A page says where a table goes by a comment: `<!-- commands -->` for each command with its options, `<!-- rules -->`
for the rules of the data checks. So these tables can't differ from the program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

from tuneway.cli._app import app
from tuneway.dataset import RULES


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the comments on a page; mkdocs calls this for each page."""
    for mark, table in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return markdown


def commands() -> str:
    """Every command: what it does, its arguments and options, its examples."""
    group: Any = typer.main.get_group(app)
    root = typer.Context(group, info_name="tuneway")
    contexts = [
        typer.Context(group.get_command(root, name), info_name=name, parent=root) for name in group.list_commands(root)
    ]
    return "\n\n".join(part for context in contexts for part in _command(context))


def rules() -> str:
    """Every rule of the data checks."""
    rows = ((f"`{rule.id}`", rule.severity, rule.summary) for rule in RULES.values())
    return _table(("Rule", "Severity", "What it says"), rows)


TABLES: dict[str, Callable[[], str]] = {"<!-- commands -->": commands, "<!-- rules -->": rules}


def _command(context: Any) -> Iterator[str]:
    command = context.command
    text, _, examples = (command.help or "").partition("Examples:")
    yield f"## tuneway {context.info_name}"
    yield text.strip()
    records = (parameter.get_help_record(context) for parameter in command.params)
    rows = [(f"`{' '.join(names.split())}`", about) for names, about in filter(None, records)]
    if rows:
        yield _table(("Argument or option", "Meaning"), rows)
    if examples.strip():
        yield "```bash\n" + re.sub(r"(?m)^\s+", "", examples).strip() + "\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    text = " ".join(text.split())
    return text if "`" in text else text.replace("|", r"\|").replace("<", "&lt;")
