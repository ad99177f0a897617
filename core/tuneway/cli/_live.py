"""Showing what goes on: drawn over and over where somebody watches, a line for every change where nobody does.

with showing(output) as show:
    client.wait(job, on_event=show.hear)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tuneway.cli._output import Output
    from tuneway.progress import News


class Show(Protocol):
    """Tells a user what goes on."""

    def hear(self, news: News) -> None:
        """Take in news; a client's `on_event`."""

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Something begins."""

    def done(self, word: str, text: str) -> None:
        """Something is done."""


@contextmanager
def showing(output: Output) -> Iterator[Show]:
    """Show what happens within, in the way that fits."""
    if output.silent:
        yield Silence()
        return
    from tuneway.cli._shows import Log, Screen

    if not output.live:
        yield Log(output)
        return
    screen = Screen(output.err)
    try:
        screen.start()
        yield screen
    finally:
        screen.stop()


class Silence:
    """Shows nothing."""

    def hear(self, news: News) -> None:
        """Take in news."""

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """Something begins."""

    def done(self, word: str, text: str) -> None:
        """Something is done."""
