"""Check one file: first each chunk, then what concerns the whole file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING
from zlib import crc32

from tuneway._escape import Words, encodable
from tuneway.dataset._blocks import TOO_LONG
from tuneway.dataset._checking import LineCheck
from tuneway.dataset._cpus import usable_cpus
from tuneway.dataset._formats import most_common_format
from tuneway.dataset._json import RowReader
from tuneway.dataset._plan import Plan
from tuneway.dataset._prices import price_of
from tuneway.dataset._report import CostEstimate, DatasetReport, Fingerprint, Format, ValidateProgress
from tuneway.dataset._rules import MAX_FILE_BYTES, MIN_ROWS
from tuneway.dataset._seen import Seen, duplicates, overlap

if TYPE_CHECKING:
    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._reading import Reader

_DETECTION_ROWS = 64
_PROGRESS_STEP = 2**20

HELPED_BYTES = 2**26
"""The size of a file from which on it pays to start other processes."""


class Progress:
    """Reports the progress of a check, about once a megabyte and at the end of each file."""

    def __init__(self, on_progress: Callable[[ValidateProgress], object] | None, total_bytes: int) -> None:
        """`total_bytes` is 0 if it isn't known."""
        self._on_progress = on_progress
        self._total = total_bytes
        self._before = self._reported = 0

    def step(self, end: int, rows: int) -> None:
        done = self._before + end
        if self._on_progress and done - self._reported >= _PROGRESS_STEP:
            self._reported = done
            self._on_progress(ValidateProgress(done, self._total, rows))

    def next_file(self, size: int, rows: int) -> None:
        self._before += size
        self._reported = self._before
        if self._on_progress:
            self._on_progress(ValidateProgress(self._before, self._total, rows))


class Scan:
    """The check of one file. `train` is the check of the training file, if this is the validation file."""

    def __init__(self, reader: Reader, plan: Plan, *, train: Scan | None = None) -> None:
        self._reader = reader
        self._plan = plan
        self._train = train
        # `hash` is faster, but differs between processes
        digest = hash if plan.processes == 1 else crc32
        self._lines = LineCheck(plan, total_bytes=reader.total_bytes, digest=digest)
        self._findings = self._lines.findings
        self._seen = Seen(reader.line_at)
        self._fingerprint = Fingerprint("", 0)
        self._rows = 0

    @property
    def format(self) -> Format | None:
        """The format of the rows, as soon as it is known."""
        return self._lines.format

    @property
    def rows(self) -> int:
        """How many rows there were so far."""
        return self._lines.rows

    def run(self, progress: Progress) -> Fingerprint:
        """Check each chunk, then the whole file. Gives its hash and size."""
        file, helpers = self._reader.descriptor, self._helpers()
        if helpers and file is not None:
            self._check_with_helpers(helpers, file, progress)
        else:
            for chunk in self._reader.chunks():
                self._check_chunk(chunk)
                progress.step(chunk.end, self._rows)
        self._lines.finish()
        self._fingerprint = self._reader.fingerprint()
        progress.next_file(self._fingerprint.size_bytes, self.rows)
        self._check_file()
        self._check_duplicates()
        return self._fingerprint

    def _check_chunk(self, chunk: Chunk) -> None:
        if self._lines.format is None:
            self._lines.format = _detect(chunk)
        before = self._lines.rows
        for rows in self._lines.check(chunk):
            self._seen.add(*rows)
        self._rows += self._lines.rows - before

    def _helpers(self) -> int:
        """How many other processes help."""
        plan, size = self._plan, self._reader.total_bytes or 0
        if plan.processes == 1 or size < HELPED_BYTES or callable(plan.tokenizer) or getattr(sys, "frozen", False):
            return 0
        return min(plan.processes, usable_cpus()) - 1

    def _check_with_helpers(self, count: int, file: int, progress: Progress) -> None:
        """Check blocks of lines here until helpers are ready, and from then on those for which they have no time."""
        from tuneway.dataset._helpers import HelperJob, Helpers

        def job() -> HelperJob:
            return HelperJob(self._plan._replace(format=self.format), self._reader.total_bytes)

        with Helpers(count, file) as helpers:
            for block in self._reader.blocks():
                self._rows += helpers.checked()
                if self.format is None or block.data is TOO_LONG or not helpers.give(block, job):
                    for chunk in block.chunks():
                        self._check_chunk(chunk)
                progress.step(block.offset + block.size, self._rows)
            for found, part, spool in helpers.found():
                self._lines.add(found)
                self._seen.merge(part, spool)

    def _check_file(self) -> None:
        report = self._findings.report
        self._findings.line = None
        size = self._fingerprint.size_bytes
        if self._reader.in_place and not self._reader.path.endswith(".jsonl"):
            report("file.extension", None, PurePath(self._reader.path).name)
        if size > MAX_FILE_BYTES:
            report("file.too_large", None, Words(f"{size:,} bytes"))
        if not self.rows:
            report("file.empty", None, Words("no example"))
        elif self.rows < MIN_ROWS:
            rule = "file.few_validation_rows" if self._plan.validation else "file.too_few_rows"
            report(rule, None, Words(f"{self.rows} example{'s' * (self.rows != 1)}"))
        if self._reader.bom:
            self._findings.line = 1
            report("file.bom", None, Words("a byte order mark"))
        if self._lines.crlf:
            self._findings.line, found = self._lines.crlf[0], self._lines.crlf_lines
            report("file.crlf", None, Words(f"CRLF, on {found:,} line{'s' * (found != 1)}"))

    def _check_duplicates(self) -> None:
        for line, earlier in duplicates(self._seen):
            self._findings.line = line
            self._findings.report("row.duplicate", None, Words(f"the same as {self._reader.unit} {earlier}"))
        if self._train is not None:
            for line, earlier in overlap(self._seen, self._train._seen):  # noqa: SLF001  # the same class
                self._findings.line = line
                self._findings.report(
                    "row.overlap",
                    None,
                    Words(f"the same as {self._train._reader.unit} {earlier} of {self._train._reader.path}"),  # noqa: SLF001
                )

    def close(self) -> None:
        """Delete its temporary file, and end its threads."""
        self._seen.close()
        self._lines.close()

    def report(self, *, validation: DatasetReport | None = None) -> DatasetReport:
        """Make the report."""
        tokens = self._lines.tally.total()
        n_epochs = self._plan.n_epochs or auto_epochs(self.rows)
        billed = not self._plan.validation and self.format is not None and self.format != "reinforcement"
        trained = max(0, tokens.total - self._lines.cut_tokens) * n_epochs if billed else None
        findings = self._findings
        return DatasetReport(
            path=encodable(self._reader.path),
            unit=self._reader.unit,
            sha256=self._fingerprint.sha256,
            size_bytes=self._fingerprint.size_bytes,
            modified_ns=self._fingerprint.modified_ns,
            format=self.format,
            rows=self.rows,
            model=self._plan.model,
            tokens=tokens,
            n_epochs=n_epochs,
            trained_tokens=trained,
            cost=_cost(self._plan, trained),
            errors=findings.kept("error"),
            warnings=findings.kept("warning"),
            error_count=findings.count("error"),
            warning_count=findings.count("warning"),
            counts=dict(sorted(findings.counts.items())),
            validation=validation,
        )


def auto_epochs(rows: int) -> int:
    """The epochs for "auto": 3, or up to 25 to reach 100 examples in all, or fewer to stay below 25,000."""
    if 0 < rows * 3 < 100:
        return min(25, 100 // rows)
    return max(1, 25_000 // rows) if rows * 3 > 25_000 else 3


def _cost(plan: Plan, trained_tokens: int | None) -> CostEstimate | None:
    price = price_of(plan.model, plan.prices)
    if price is None or trained_tokens is None:
        return None
    return CostEstimate(
        usd=round(trained_tokens * price.usd_per_million / 1_000_000, 4),
        usd_per_million=price.usd_per_million,
        model=price.model,
        prices_as_of=price.as_of,
    )


def _detect(chunk: Chunk) -> Format | None:
    reader = RowReader(lambda *_: None)
    rows = (reader.read(line, offset=0, strict=False) for line in islice(chunk.lines, _DETECTION_ROWS))
    return most_common_format(row for row in rows if row is not None)
