"""The two ways to show progress: lines in a log, and a screen that is drawn again and again."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuneway._escape import printable
from tuneway.cli._output import Output
from tuneway.cli._view import View
from tuneway.cli._wording import WIDTH, Lines, line_of, lines_about
from tuneway.progress import DataChecked, News

TROUBLED = {"cancelled", "error", "failed", "note", "trouble", "warning"}
"""First words of the lines that get a warning mark."""


class Log:
    """Prints a line for every change."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines = Lines()

    def hear(self, news: News) -> None:
        """Print the lines for these news."""
        line = self._lines.hear(news)
        for one in lines_about(news.report) if isinstance(news, DataChecked) else [line]:
            if one is not None:
                self.done(*one)

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Print nothing: the end of this part gets a line."""

    def done(self, word: str, text: str) -> None:
        """Print a line."""
        self._output.note(f"{word:<{WIDTH}} {text}".rstrip())


class Screen:
    """Draws the current state several times a second; the lines about what is done stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = View()
        self._live = Live(self._view, console=console, refresh_per_second=8, transient=True)

    def start(self) -> None:
        """Start drawing."""
        self._live.start()

    def stop(self) -> None:
        """Stop drawing; the lines stay."""
        self._view.begin("")
        self._live.stop()

    def hear(self, news: News) -> None:
        """Print the lines that stay, and draw the state after these news."""
        for one in lines_about(news.report) if isinstance(news, DataChecked) else [line_of(news)]:
            if one is not None:
                self.done(*one)
        self._view.hear(news)

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Draw this as the current state."""
        self._view.begin(word, text, cost=cost)

    def done(self, word: str, text: str) -> None:
        """Print a line that stays."""
        self._console.print(marked(word, text))


def marked(word: str, text: str) -> Text:
    """A line about something that is done, with a mark before it."""
    mark, style = ("!", "yellow") if word in TROUBLED else ("✓", "green")
    word, text = printable(word, lines=False), printable(text, lines=False)
    return Text.assemble((mark, style), " ", (f"{word:<{WIDTH}}", "bold"), " ", text)
