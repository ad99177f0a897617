"""Check lines, and add up what is found. Lines can be checked apart from the others of their file."""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneway._escape import Words
from tuneway.dataset._findings import Findings
from tuneway.dataset._formats import Measured, check_row, measure
from tuneway.dataset._json import RowReader
from tuneway.dataset._plain import sift
from tuneway.dataset._prices import training_context
from tuneway.dataset._rules import STRICT_BYTES
from tuneway.dataset._tally import Counted, Tally, TallyState
from tuneway.dataset._tokens import tally_for

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Sequence

    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._plan import Plan
    from tuneway.dataset._report import Format, Problem
    from tuneway.dataset._rules import Severity


class DigestedRows(NamedTuple):
    """The rows of some lines: the digest of each, the number of its line, and where the line starts."""

    digests: Iterable[int]
    numbers: Sequence[int]
    offsets: Sequence[int] | array[int]


class Found(NamedTuple):
    """The sum of what was found in some lines."""

    rows: int
    cut_tokens: int
    crlf: list[int]
    crlf_lines: int
    counts: dict[str, int]
    kept: dict[Severity, list[Problem]]
    tally: TallyState


class LineCheck:
    """Checks lines of one file.

    Args:
        plan: The settings of the check.
        total_bytes: The size of the file, if it is known.
        digest: Makes a digest of a line.
        threads: Whether tokens may be counted in threads.
    """

    def __init__(
        self, plan: Plan, *, total_bytes: int | None, digest: Callable[[bytes], int], threads: bool = True
    ) -> None:
        self.format: Format | None = plan.format
        self.rows = 0
        self.cut_tokens = 0
        self.crlf: list[int] = []
        self.crlf_lines = 0
        self.findings = Findings(plan.max_shown)
        self._items = plan.items
        self._row_keys = plan.row_keys
        self._digest = digest
        self._row_reader = RowReader(self.findings.report)
        self._context = training_context(plan.model)
        self.tally: Tally = tally_for(
            plan.model, plan.tokenizer, measure=self._measure, total_bytes=total_bytes, context=self._context,
            threads=threads,
        )  # fmt: skip

    def check(self, chunk: Chunk) -> list[DigestedRows]:
        """Check some lines; gives their rows."""
        if chunk.offsets[0] < STRICT_BYTES <= chunk.offsets[-1]:
            middle = bisect_left(chunk.offsets, STRICT_BYTES)
            return [self._check(chunk.part(0, middle)), self._check(chunk.part(middle, len(chunk.lines)))]
        return [self._check(chunk)]

    def found(self) -> Found:
        """The sum, for another process."""
        self.finish()
        kept: dict[Severity, list[Problem]] = {name: self.findings.kept(name) for name in ("error", "warning")}
        return Found(
            self.rows, self.cut_tokens, self.crlf, self.crlf_lines, self.findings.counts, kept, self.tally.state()
        )

    def add(self, found: Found) -> None:
        """Add what was found in other lines of the same file."""
        self.rows += found.rows
        self.cut_tokens += found.cut_tokens
        self.crlf = sorted([*self.crlf, *found.crlf])[:1]
        self.crlf_lines += found.crlf_lines
        self.findings.add(found.counts, found.kept)
        self.tally.merge(found.tally)

    def finish(self) -> None:
        """Wait until all tokens are counted."""
        self._check_lengths(self.tally.settle())

    def close(self) -> None:
        """End its threads."""
        self.tally.close()

    def _measure(self, row: dict[str, Any]) -> Measured:
        return measure(row, self.format)

    def _check(self, chunk: Chunk) -> DigestedRows:
        texts: list[list[str]] | None = [] if self.tally.needs_texts else None
        strict = chunk.offsets[0] < STRICT_BYTES
        known = chunk.plain_chats and self.format == "chat" and texts is None
        others = () if known else sift(chunk.lines, self.format, texts, strict=strict)
        odd = frozenset(others)
        places = [place for place in range(len(chunk.lines)) if place not in odd] if odd else range(len(chunk.lines))
        plain = chunk.only(places)
        self.rows += len(places)
        if places:
            self._check_lengths(self.tally.add_plain(plain, texts, self.format))
        if not others:
            return self._rows(chunk, chunk)
        return self._rows(
            chunk, chunk.only([*places, *(place for place in others if self._check_line(chunk, place, strict=strict))])
        )

    def _check_line(self, chunk: Chunk, place: int, *, strict: bool) -> bool:
        """Check one line fully; gives whether it is a row."""
        line, offset, number = chunk.lines[place], chunk.offsets[place], chunk.numbers[place]
        self.findings.line = number
        row = self._row_reader.read(line, offset=offset, strict=strict)
        if row is None:
            return False
        check_row(row, self.format, self._items, self.findings.report, self._row_keys)
        self._check_lengths(self.tally.add(row, line, number=number, offset=offset))
        self.rows += 1
        return True

    def _check_lengths(self, counted: Iterable[Counted]) -> None:
        for numbers, counts in counted:  # also if the limit is unknown: to have them counted
            if self._context is not None and max(counts, default=0) > self._context:
                for number, tokens in zip(chain.from_iterable(numbers), counts, strict=True):
                    if tokens > self._context:
                        self._report_length(number, tokens, self._context)

    def _report_length(self, number: int, tokens: int, limit: int) -> None:
        self.cut_tokens += tokens - limit
        self.findings.line = number
        self.findings.report("row.too_long", None, Words(f"{tokens:,} tokens"), f"at most {limit:,} tokens")

    def _rows(self, chunk: Chunk, rows: Chunk) -> DigestedRows:
        """Those lines of a chunk that are rows. Lines that differ only in their line ends have equal digests."""
        lines = rows.lines
        if chunk.has_cr or chunk.lines[-1][-1:] != b"\n":
            self._note_crlf(chunk)
            lines = [line.rstrip(b"\r\n") + b"\n" for line in lines]
        return DigestedRows(map(self._digest, lines), rows.numbers, rows.offsets)

    def _note_crlf(self, chunk: Chunk) -> None:
        found = [chunk.numbers[place] for place, line in enumerate(chunk.lines) if line.endswith(b"\r\n")]
        self.crlf_lines += len(found)
        self.crlf = self.crlf or found[:1]
