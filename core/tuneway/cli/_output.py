"""Where a command prints what: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._escape import json_line, one_line, printable
from tuneway.cli._options import group

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

# Without a terminal nothing is cut or wrapped.
_UNBOUNDED = 10_000


@group("Output")
class Output:
    """How a command prints: for people, or with `--json` for programs."""

    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per line; errors too, on standard error."),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an unexpected error.")] = False

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
        """Whether standard error is a terminal, on which lines can be drawn again."""
        return not self.quiet and sys.stderr.isatty() and not self.err.is_dumb_terminal

    @property
    def silent(self) -> bool:
        """Whether only results and errors are printed."""
        return self.quiet or (self.json and not self.live)

    def result(self, text: str, *, lines: bool = False) -> None:
        """Print the result of the command: one line, or with `lines` a text of several."""
        self.out.print(printable(text, lines=lines), soft_wrap=True)

    def record(self, value: Mapping[str, Any] | BaseModel) -> None:
        """Print one JSON object on one line. An object of the API keeps the fields that it was received with."""
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value.model_dump_json()
        sys.stdout.write(json_line(text) + "\n")
        sys.stdout.flush()

    def note(self, text: str, *, style: str = "") -> None:
        """Print a line that isn't the result."""
        if not self.silent:
            self.err.print(printable(text, lines=False), style=style, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
        """Print rows under headings. Without a terminal no cell is cut."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=None, pad_edge=False, header_style="bold" if self.out.is_terminal else "", padding=(0, 2, 0, 0)
        )
        for index, column in enumerate(columns):
            # the first cell is never wrapped, so that it can be copied
            table.add_column(
                one_line(column), justify="right" if column in right else "left", overflow="fold", no_wrap=not index
            )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else one_line(_blank(cell), _UNBOUNDED) for cell in row))
        if self.out.is_terminal:
            self.out.print(table)
        else:
            lines = self.out.render_lines(table, self.out.options.update(width=_UNBOUNDED), pad=False)
            for line in lines:
                sys.stdout.write("".join(segment.text for segment in line).rstrip() + "\n")

    def listing(self, items: Iterable[Any], columns: Sequence[str], row: Callable[[Any], Sequence[Any]]) -> None:
        """Print things: for programs one JSON object each, for people a table of their rows."""
        if self.json:
            for item in items:
                self.record(item)
        else:
            self.table(columns, [row(item) for item in items])

    def facts(self, values: Mapping[str, Any]) -> None:
        """Print names and values; names without a value are left out."""
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
            grid.add_row(one_line(name), one_line(value, _UNBOUNDED))
        self.out.print(grid)


def console(stream: Any) -> Console:
    """A console without highlighting, markup and emoji codes: text from a service is printed as it is."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def debugging(words: Sequence[str]) -> bool:
    """Whether tracebacks of unexpected errors are printed."""
    return "--debug" in words or os.environ.get("TUNEWAY_DEBUG", "") not in ("", "0")


def _blank(cell: Any) -> Any:
    return "–" if cell is None or cell == "" else cell
