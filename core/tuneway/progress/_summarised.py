"""Few of the steps of a training, for logs in which each line costs something."""

from __future__ import annotations

from tuneway.progress._base import Listener, News
from tuneway.progress._news import Logged

STEP_SECONDS = 30.0
"""Seconds of training between two steps that are passed on."""


class Summarised:
    """A listener that passes news on to another one, but only some of the steps of a training.

    It passes on the first step, the last, those with metrics on all validation data, and one in so many seconds of
    training. The service's clock counts, so it doesn't matter how often the job is polled.

    Args:
        listener: The listener that is called.
        seconds: Seconds of training between two steps.

    Example:
        `client.wait(job, on_event=Summarised(print))`
    """

    def __init__(self, listener: Listener, *, seconds: float = STEP_SECONDS) -> None:
        self.last: str | None = None
        """The latest step as a line of text, passed on or not."""
        self._listener = listener
        self._seconds = seconds
        self._held: News | None = None
        self._passed_at: float | None = None

    def __call__(self, news: News) -> object:
        """Pass news on, or hold them back until it is known whether they are the last step."""
        if not isinstance(news, Logged) or not news.event.metrics:
            held, self._held = self._held, None
            if held is not None:
                self._listener(held)
            return self._listener(news)
        self.last = str(news)
        at = news.event.created_at or 0.0
        due = self._passed_at is None or at >= self._passed_at + self._seconds
        if due or any(name.startswith("full_valid") for name in news.event.metrics):
            self._held, self._passed_at = None, at
            return self._listener(news)
        self._held = news
        return None
