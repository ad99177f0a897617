"""What a command says, and where: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._words import one_line, printable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

PANEL = "Output"

# Wide enough that nothing is ever cut or wrapped where no terminal sets a limit.
_UNBOUNDED = 10_000


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command talks: to people, or with `--json` to machines."""

    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line on standard output; errors too.", rich_help_panel=PANEL),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.", rich_help_panel=PANEL)] = (
        False
    )
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.", rich_help_panel=PANEL)
    ] = False

    @cached_property
    def out(self) -> Console:
        """Standard output."""
        return console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Standard error."""
        return console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether somebody watches: lines may be drawn over."""
        return not self.quiet and sys.stderr.isatty() and not self.err.is_dumb_terminal

    @property
    def silent(self) -> bool:
        """Whether only results and errors are wanted."""
        return self.quiet or (self.json and not self.live)

    def result(self, text: str) -> None:
        """Print what the command was called for."""
        self.out.print(printable(text), soft_wrap=True)

    def record(self, value: Mapping[str, Any] | BaseModel) -> None:
        """Print one JSON object on one line; what was received, as it was received."""
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value.model_dump_json()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str, *, style: str = "") -> None:
        """Say something beside the result."""
        if not self.silent:
            self.err.print(printable(text), style=style, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
        """Print rows under headings; where no terminal limits the width, no cell is ever cut."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=None, pad_edge=False, header_style="bold" if self.out.is_terminal else "", padding=(0, 2, 0, 0)
        )
        for index, column in enumerate(columns):
            # what a row is about is never broken, so that it can be copied
            table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=not index)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else one_line(_blank(cell), _UNBOUNDED) for cell in row))
        if self.out.is_terminal:
            self.out.print(table)
        else:
            lines = self.out.render_lines(table, self.out.options.update(width=_UNBOUNDED), pad=False)
            for line in lines:
                sys.stdout.write("".join(segment.text for segment in line).rstrip() + "\n")

    def facts(self, values: Mapping[str, Any]) -> None:
        """Print names and values, those without a value left out."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 3, 0, 0))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        shown = {name: value for name, value in values.items() if value not in (None, "", [], {})}
        if not self.out.is_terminal:
            for name, value in shown.items():
                sys.stdout.write(f"{one_line(name)}: {one_line(value, _UNBOUNDED)}\n")
            return
        for name, value in shown.items():
            grid.add_row(one_line(name), printable(value))
        self.out.print(grid)


def console(stream: Any) -> Console:
    """A console that adds nothing of its own: no highlighting, no markup, no emoji codes."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def debugging(words: Sequence[str]) -> bool:
    """Whether tracebacks are wanted."""
    return "--debug" in words or os.environ.get("TUNEWAY_DEBUG", "") not in ("", "0")


def _blank(cell: Any) -> Any:
    return "–" if cell is None or cell == "" else cell
