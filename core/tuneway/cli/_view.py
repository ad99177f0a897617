"""The current state, drawn on a terminal: what goes on, how far it is, the curve so far, the remaining time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.spinner import Spinner
from rich.text import Text

from tuneway._escape import one_line, printable
from tuneway._words import duration, figure, money, size
from tuneway.cli._watch import Watch
from tuneway.cli._wording import WIDTH
from tuneway.models import Phase
from tuneway.progress import Answered, Checking, News, Sent
from tuneway.report import sparkline

BAR = 32
SPARK = 24
INDENT = WIDTH + 3


class View:
    """What is drawn; a console asks for it each time it draws."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._spinner = Spinner("dots", style="cyan")
        self._watch = Watch()
        self._word = ""
        self._text = ""
        self._cost: float | None = None
        self._share: tuple[int, int, str] | None = None

    def begin(self, word: str, text: str = "", *, cost: float | None = None) -> None:
        """A part of the work begins; without a word, nothing is drawn any more."""
        self._word, self._text, self._share = printable(word, lines=False), printable(text), None
        if cost is not None:
            self._cost = cost

    def hear(self, news: News) -> None:
        """Take in news."""
        if isinstance(news, Checking | Sent):
            self._word = "checking" if isinstance(news, Checking) else "uploading"
            self._share = (news.done, news.total, f"{size(news.done)} of {size(news.total)}")
        elif isinstance(news, Answered):
            self._share = (news.done, news.total, str(news))
        else:
            self._watch.hear(news)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines."""
        if not self._word:
            return
        job = self._watch.job
        spinner = cast("Text", self._spinner.render(console.get_time()))
        word = one_line(job.status, 40).partition("_")[0] if job else self._word
        head = Text.assemble(spinner, " ", (f"{word:<{WIDTH}}", "bold"), " ")
        rest = (self._curve(), self._times(), self._aside(), *map(Text, self._text.splitlines()[1:]))
        for line in (
            head + (self._steps() if job else self._far()),
            *(Text(" " * INDENT) + one for one in rest if one),
        ):
            # a terminal echoes Ctrl-C at the cursor: after a full line it would wrap, and Rich would not clear it
            line.truncate(options.max_width - 4, overflow="ellipsis")
            yield line

    def _far(self) -> Text:
        """How much of a file is read or sent, or how many answers are there."""
        if self._share is None or not self._share[1]:
            return Text(self._text.partition("\n")[0])
        done, total, words = self._share
        return _bar(done / total) + f"  {words}"

    def _steps(self) -> Text:
        """How many steps of the training are done."""
        watch = self._watch
        if watch.share is None or watch.step is None or watch.total is None:
            return Text(one_line(watch.job.id) if watch.job else "", "dim")
        style = "yellow" if watch.phase is Phase.PAUSED else "cyan"
        return _bar(watch.share, style) + f"  step {watch.step:,.0f} of {watch.total:,.0f}"

    def _curve(self) -> Text | None:
        """The loss or reward so far, as a small curve."""
        watch = self._watch
        if not watch.train:
            return None
        line = Text.assemble((f"{watch.measure} ", "dim"), f"{figure(watch.train[-1]):<9}")
        line.append(sparkline(_logarithmic(watch.train), SPARK), "cyan")
        if watch.valid:
            line.append("   validation ", "dim").append(f"{figure(watch.valid[-1])} ")
            line.append(sparkline(_logarithmic(watch.valid), SPARK // 2), "magenta")
        return line

    def _times(self) -> Text | None:
        """The time so far, the time that remains, and the estimated cost."""
        now, watch = self._now(), self._watch
        elapsed, remaining = watch.elapsed(now), watch.remaining(now)
        parts = [f"{duration(elapsed)} so far"] if elapsed is not None else []
        if remaining is not None:
            parts.append(f"about {duration(remaining)} left" if remaining >= 1 else "any moment now")
        if self._cost is not None:
            parts.append(f"about {money(self._cost)}")
        return Text(", ".join(parts), "dim") if parts else None

    def _aside(self) -> Text | None:
        """The current trouble, else the last line of the job's log."""
        if self._watch.trouble:
            return Text(self._watch.trouble, "yellow")
        return Text(self._watch.message, "dim") if self._watch.message else None


def _logarithmic(values: list[float]) -> list[float]:
    """Logarithms of the values if all are positive: they show that a loss still falls when it has become small."""
    return [math.log(value) for value in values] if all(value > 0 for value in values) else values


def _bar(share: float, style: str = "cyan") -> Text:
    full = round(min(max(share, 0.0), 1.0) * BAR)
    return Text.assemble(("━" * full, style), ("━" * (BAR - full), "bright_black"))
