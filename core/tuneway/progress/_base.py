"""What all news has in common, and who hears it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class News:
    """The base of everything that is told."""


Listener = Callable[[News], object]
