"""The base class of news, and the type of listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tuneway._escape import printable

_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class News:
    """The base class of all news. As text, each is one line that a terminal and a log can show."""

    def __str__(self) -> str:
        return printable(self._line(), lines=False)[:_LONGEST]

    def _line(self) -> str:
        return type(self).__name__


Listener = Callable[[News], object]
"""What is called with news. `AsyncClient` awaits what it gives for `CreatePlanned`, if that can be awaited.

So a listener that keeps the mark somewhere has done so before the create is sent.
"""
