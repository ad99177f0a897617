"""Rows that are too long: how many lose their end, how many have nothing left, and on which lines they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuneway_service.trainers.base import Remark

SHOWN = 10
"""How many line numbers a remark has."""


@dataclass
class CutRows:
    """The cut rows of one file.

    Args:
        name: The file's name.
        what: What is too long, in words: "rows longer than …".
        hint: What to change, in words.
    """

    name: str
    what: str
    hint: str
    shortened: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    def add(self, line: int, *, left: bool) -> None:
        """Add the row on this line; `left` says whether there is something left to learn."""
        (self.shortened if left else self.left_out).append(line)

    def remark(self) -> Remark | None:
        """The remark about them; None if there are none."""
        parts = []
        if self.shortened:
            parts.append(_told(self.shortened, "learned without the end"))
        if self.left_out:
            parts.append(_told(self.left_out, "left out, because nothing to learn remains"))
        if not parts:
            return None
        text = f"{self.name} has {self.what}: {'; '.join(parts)}. {self.hint}"
        return Remark(text, mark=f"cut:{self.name}")


def _told(lines: list[int], what: str) -> str:
    rows, word = ("1 row is", "line") if len(lines) == 1 else (f"{len(lines):,} rows are", "lines")
    first = ", ".join(map(str, lines[:SHOWN])) + (", …" if len(lines) > SHOWN else "")
    return f"{rows} {what} ({word} {first})"
