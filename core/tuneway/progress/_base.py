"""The base class of news, and the type of listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class News:
    """The base class of all news."""


Listener = Callable[[News], object]
