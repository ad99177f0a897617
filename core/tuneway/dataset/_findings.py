"""Collect problems. All are counted; the first few are kept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from tuneway._escape import encodable, excerpt, printable
from tuneway.dataset._rules import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway.dataset._report import Problem
    from tuneway.dataset._rules import Severity


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()
"""Stands for a key that isn't there."""


class OnProblem(Protocol):
    """Reports a problem. Without `expected`, the rule's own text is used."""

    def __call__(self, rule: str, where: str | None, found: object, expected: str | None = None) -> None: ...


class Findings:
    """The problems of one file."""

    def __init__(self, max_shown: int) -> None:
        self.counts: Counter[str] = Counter()
        self.line: int | None = None
        self._max_shown = max_shown
        self._kept: dict[Severity, list[Problem]] = {"error": [], "warning": []}
        self._last_kept: dict[Severity, float] = {"error": float("inf"), "warning": float("inf")}

    def report(self, rule: str, where: str | None, found: object, expected: str | None = None) -> None:
        """Count a problem in the current line, and keep it if it is among the first."""
        details = RULES[rule]
        self.counts[rule] += 1
        if (self.line or 0) > self._last_kept[details.severity]:
            return
        from tuneway.dataset._report import Problem  # helpers start faster without it

        kept = self._kept[details.severity]
        kept.append(
            Problem(
                line=self.line,
                rule=rule,
                severity=details.severity,
                where=None if where is None else printable(where, lines=False),
                found="nothing" if found is MISSING else excerpt(found),
                expected=encodable(expected or details.expected),
                hint=details.hint or None,
            )
        )
        if len(kept) >= 2 * self._max_shown:
            self._prune(details.severity)

    def kept(self, severity: Severity) -> list[Problem]:
        """The first problems, sorted by line."""
        self._prune(severity)
        return list(self._kept[severity])

    def add(self, counts: Mapping[str, int], kept: Mapping[Severity, list[Problem]]) -> None:
        """Add the problems that were found elsewhere in the file."""
        self.counts.update(counts)
        for severity, problems in kept.items():
            self._kept[severity] += problems
            self._prune(severity)

    def count(self, severity: Severity) -> int:
        """The number of all problems, kept or not."""
        return sum(n for rule, n in self.counts.items() if RULES[rule].severity == severity)

    def _prune(self, severity: Severity) -> None:
        kept = self._kept[severity]
        kept.sort(key=lambda problem: problem.line or 0)
        del kept[self._max_shown :]
        if len(kept) == self._max_shown:
            self._last_kept[severity] = (kept[-1].line or 0) if kept else -1
