"""The two ways to show what goes on: lines, and a screen."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuneway.cli._output import Output
from tuneway.cli._told import WIDTH, Lines, line_of
from tuneway.cli._view import View
from tuneway.progress import News

TROUBLED = {"cancelled", "error", "failed", "note", "trouble", "warning"}


class Log:
    """A line for every change."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines = Lines()

    def hear(self, news: News) -> None:
        """Print a line, if this is worth one."""
        line = self._lines.hear(news)
        if line is not None:
            self.done(*line)

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Say nothing: the end will be a line."""

    def done(self, word: str, text: str) -> None:
        """Print a line."""
        self._output.note(f"{word:<{WIDTH}} {text}".rstrip())


class Screen:
    """The present, drawn anew several times a second; what is done stays above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = View()
        self._live = Live(self._view, console=console, refresh_per_second=8, transient=True)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Leave only what is done."""
        self._view.begin("")
        self._live.stop()

    def hear(self, news: News) -> None:
        """Draw this from now on, or print it if it shall stay."""
        line = line_of(news)
        if line is not None:
            self.done(*line)
        self._view.hear(news)

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Draw this as the present."""
        self._view.begin(word, text, cost=cost)

    def done(self, word: str, text: str) -> None:
        """Print a line that stays."""
        self._console.print(marked(word, text))


def marked(word: str, text: str) -> Text:
    """A line about something that is done."""
    mark, style = ("!", "yellow") if word in TROUBLED else ("✓", "green")
    return Text.assemble((mark, style), " ", (f"{word:<{WIDTH}}", "bold"), " ", text)
