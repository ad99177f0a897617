"""What a recovery has found, for whoever runs it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SECONDS_BETWEEN_LINES = 2.0
SHOWN = 20


class Summary:
    """Counts what was recovered, and notes what couldn't be."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.found: Counter[tuple[str, str]] = Counter()
        self.lost: list[str] = []
        self.doubts: list[str] = []

    def add(self, kind: str, source: str) -> None:
        """Count one thing by its kind and by where it was found."""
        self.found[kind, source] += 1

    def lose(self, what: str, why: str) -> None:
        """Note what couldn't be recovered."""
        self.lost.append(f"{what}: {why}")

    def doubt(self, what: str, why: str) -> None:
        """Note what was recovered in part."""
        self.doubts.append(f"{what}: {why}")

    def follow(self, what: str, items: Iterable[str]) -> Iterator[str]:
        """Iterate, and log the progress now and then."""
        names = sorted(items)
        logged = time.monotonic()
        for number, name in enumerate(names):
            if time.monotonic() - logged > SECONDS_BETWEEN_LINES:
                logged = time.monotonic()
                self.log(f"{what}: {number} of {len(names)}")
            yield name

    def lines(self) -> list[str]:
        """The whole summary."""
        lines = []
        for kind in ("files", "jobs", "models"):
            parts = [(source, count) for (what, source), count in self.found.items() if what == kind]
            total = sum(count for _, count in parts)
            detail = "; ".join(f"{count} {source}" for source, count in sorted(parts))
            lines.append(f"Recovered {total} {kind}" + (f" ({detail})." if detail else "."))
        rest = ", ".join(f"{count} {what}" for (what, source), count in sorted(self.found.items()) if source == "")
        if rest:
            lines.append(f"Also from the damaged database: {rest}.")
        for title, entries in (("Recovered in part", self.doubts), ("Not recovered, and left in place", self.lost)):
            lines += [f"{title}:", *(f"  {entry}" for entry in entries)] if entries else []
        return lines

    def show(self) -> None:
        """Log the summary, without the end of a long list."""
        lines = self.lines()
        for line in lines[: SHOWN + 4]:
            self.log(line)
        if len(lines) > SHOWN + 4:
            self.log(f"  … and {len(lines) - SHOWN - 4} more lines")
