"""Showing progress: a screen that is drawn again and again on a terminal, a line for every change elsewhere.

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
    """Shows the progress of a command."""

    def hear(self, news: News) -> None:
        """Take in news; give this to a client as `on_event`."""

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """A part of the work begins: `begin("checking", "train.jsonl")`."""

    def done(self, word: str, text: str) -> None:
        """A part of the work is done: `done("registered", "support-router:1")`."""


@contextmanager
def showing(output: Output) -> Iterator[Show]:
    """Show what happens inside the `with` block, in the way that fits the output."""
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
        """A part of the work begins."""

    def done(self, word: str, text: str) -> None:
        """A part of the work is done."""
