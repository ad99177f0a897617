"""Help texts: examples after each command's options; environment and exit codes after the list of commands.

A command's docstring is its help; the lines after `Examples:` are printed as they are, below the options.
"""

from __future__ import annotations

import sys
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from tuneway.cli._exits import MEANINGS, Stopped, exit_code, reader_gone, tidy_end
from tuneway.cli._output import console

if TYPE_CHECKING:
    from rich.console import RenderableType

ENVIRONMENT = {
    "OPENAI_BASE_URL": "the service's address, if it isn't OpenAI's: http://127.0.0.1:8765/v1",
    "OPENAI_API_KEY": "the key. It has no option, since options show in the list of processes",
    "OPENAI_ORG_ID": "the organisation, if the key belongs to several",
    "OPENAI_PROJECT_ID": "the organisation's project",
    "OPENAI_API_VERSION": "the version of Azure's API; AZURE_OPENAI_API_KEY can hold the key",
    "TUNEWAY_REGISTRY_URI": "the model registry: sqlite:///models.db, mlflow:https://…",
    "TUNEWAY_DEPLOYMENT": "a name for this installation, if several share an account and use the same keys",
    "TUNEWAY_TOKEN": "the key that clients of `tuneway serve` must send",
    "TUNEWAY_GRADER_KEY": "the key of the service that `tuneway serve --grader-url` asks",
    "TUNEWAY_DEBUG": "1: print the traceback of unexpected errors",
    "NO_COLOR": "1: no colours",
}


class Command(TyperCommand):
    """A command whose help ends with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the options, then the examples."""
        self.help, examples = _parts(self.help)
        super().format_help(ctx, formatter)
        if examples:
            _print(_panel("Examples", examples))


class Root(TyperGroup):
    """The root command: every command starts and ends here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the commands, then the environment and the exit codes."""
        self.help, examples = _parts(self.help)
        super().format_help(ctx, formatter)
        codes = {str(int(code)): meaning for code, meaning in MEANINGS.items()}
        _print(
            _panel("Start here", examples),
            _panel("Environment", _two_columns(ENVIRONMENT)),
            _panel("Exit codes", _two_columns(codes)),
        )

    def main(self, args: Any = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> Any:
        """Run a command line, and exit."""
        words = sys.argv[1:] if args is None else list(args)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a `?` for a character that the terminal can't show
        with tidy_end(words):
            code = super().main(words, prog_name, *rest, **extra | {"standalone_mode": False})
            raise SystemExit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Two exceptions are caught here, before typer ends them in its own way."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            reader_gone()
        except KeyboardInterrupt as stop:
            raise Stopped("interrupted", exit_code=exit_code(stop)) from None


def _parts(text: str | None) -> tuple[str, str]:
    """Prose with each paragraph on one line, for typer to wrap, and examples as they are."""
    prose, _, examples = cleandoc(text or "").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.strip().split("\n\n")]
    return "\n\n".join(paragraphs), cleandoc(examples)


def _two_columns(rows: dict[str, str]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    for name, meaning in rows.items():
        grid.add_row(name, meaning)
    return grid


def _panel(title: str, body: RenderableType) -> RenderableType:
    """A panel that looks like those of typer."""
    from rich.panel import Panel
    from rich.text import Text

    shown = Text(body) if isinstance(body, str) else body
    return Panel(shown, title=title, title_align="left", border_style="dim")


def _print(*parts: RenderableType) -> None:
    out = console(sys.stdout)
    for part in parts:
        out.print(part)
