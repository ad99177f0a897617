"""Check one file: first each chunk, then what concerns the whole file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from tuneway._escape import Words, encodable
from tuneway.dataset._findings import Findings
from tuneway.dataset._formats import Measured, check_row, measure, measure_plain, most_common_format
from tuneway.dataset._json import RowReader
from tuneway.dataset._plain import sift
from tuneway.dataset._prices import price_of, training_context
from tuneway.dataset._report import CostEstimate, DatasetReport, Fingerprint, Format, ValidateProgress
from tuneway.dataset._rules import MAX_FILE_BYTES, MIN_ROWS, STRICT_BYTES
from tuneway.dataset._seen import Seen, duplicates, overlap
from tuneway.dataset._tokens import Tally, tally_for

if TYPE_CHECKING:
    from tuneway.dataset._reading import Chunk, Reader

_DETECTION_ROWS = 64
_PROGRESS_STEP = 2**20


class Plan(NamedTuple):
    """The settings of a check."""

    format: Format | None
    model: str | None
    n_epochs: int | None
    items: frozenset[str]
    prices: dict[str, float]
    tokenizer: str | Callable[[str], int] | None
    max_shown: int
    held_out: bool = False
    """Whether this is validation data. It may be small, and isn't trained on."""
    row_keys: Mapping[str, frozenset[str]] | None = None
    """The keys that a row of each format may have, where the service refuses data with others."""


class Progress:
    """Reports the progress of a check, about once a megabyte and at the end of each file."""

    def __init__(self, tell: Callable[[ValidateProgress], object] | None, total_bytes: int) -> None:
        """`total_bytes` is 0 if it isn't known."""
        self._tell = tell
        self._total = total_bytes
        self._before = self._told = 0

    def step(self, end: int, rows: int) -> None:
        done = self._before + end
        if self._tell and done - self._told >= _PROGRESS_STEP:
            self._told = done
            self._tell(ValidateProgress(done, self._total, rows))

    def next_file(self, size: int, rows: int) -> None:
        self._before += size
        self._told = self._before
        if self._tell:
            self._tell(ValidateProgress(self._before, self._total, rows))


class Scan:
    """The check of one file. `train` is the check of the training file, if this is the validation file."""

    def __init__(self, reader: Reader, plan: Plan, *, train: Scan | None = None) -> None:
        self.format = plan.format
        self.rows = 0
        self._reader = reader
        self._plan = plan
        self._train = train
        self._findings = Findings(plan.max_shown)
        self._row_reader = RowReader(self._findings.tell)
        self._seen = Seen(reader.line_at)
        self._tally: Tally = tally_for(
            plan.model, plan.tokenizer, measure=self._measure, total_bytes=reader.total_bytes
        )
        self._context = training_context(plan.model)
        self._fingerprint = Fingerprint("", 0)
        self._cut_tokens = 0
        self._crlf: list[int] = []
        self._crlf_lines = 0

    def run(self, progress: Progress) -> Fingerprint:
        """Check each chunk, then the whole file. Gives its hash and size."""
        for chunk in self._reader.chunks():
            self._check_chunk(chunk)
            progress.step(chunk.end, self.rows)
        self._fingerprint = self._reader.fingerprint()
        progress.next_file(self._fingerprint.size_bytes, self.rows)
        self._check_file()
        self._check_duplicates()
        return self._fingerprint

    def _measure(self, row: dict[str, Any]) -> Measured:
        return measure(row, self.format)

    def _check_chunk(self, chunk: Chunk) -> None:
        if self.format is None:
            self.format = _detect(chunk)
        plain: list[dict[str, Any]] = []
        strict = chunk.offsets[0] < STRICT_BYTES
        keep = plain if self._tally.needs_texts else None
        known = chunk.plain_chats and self.format == "chat" and keep is None
        others = () if known else sift(chunk.lines, self.format, keep, strict=strict)
        lines, places = chunk.lines, list(range(len(chunk.lines)))
        if others:
            odd = frozenset(others)
            places = [place for place in places if place not in odd]
            lines = [lines[place] for place in places]
        self.rows += len(lines)
        counts = self._tally.add_plain(lines, [measure_plain(row, self.format) for row in plain])
        if self._context is not None:
            if counts is None and max(map(len, lines), default=0) > self._context:
                counts = [self._tally.count(from_json(line)) if len(line) > self._context else 0 for line in lines]
            if counts and max(counts) > self._context:
                for place, tokens in zip(places, counts, strict=True):
                    self._check_length(tokens, chunk.numbers[place])
        places += [place for place in others if self._check_line(chunk, place, strict=strict)]
        self._add_digests(chunk, places)

    def _check_line(self, chunk: Chunk, place: int, *, strict: bool) -> bool:
        """Check one line fully; gives whether it is a row."""
        line = chunk.lines[place]
        self._findings.line = chunk.numbers[place]
        row = self._row_reader.read(line, offset=chunk.offsets[place], strict=strict)
        if row is None:
            return False
        check_row(row, self.format, self._plan.items, self._findings.tell, self._plan.row_keys)
        images = self._measure(row).image_bytes if b"image_url" in line else 0
        self._tally.add(row, max(1, len(line) - images))
        if images or (self._context is not None and len(line) > self._context):
            self._check_length(self._tally.count(row), self._findings.line)
        self.rows += 1
        return True

    def _check_length(self, tokens: int, line: int) -> None:
        if self._context is not None and tokens > self._context:
            self._cut_tokens += tokens - self._context
            self._findings.line = line
            self._findings.tell("row.too_long", None, Words(f"{tokens:,} tokens"), f"at most {self._context:,} tokens")

    def _add_digests(self, chunk: Chunk, places: Sequence[int]) -> None:
        """Keep the digests of rows. Lines that differ only in their line ends count as equal."""
        lines = chunk.lines
        if self._reader.has_cr or lines[-1][-1:] != b"\n":
            self._note_crlf(chunk)
            lines = [line.rstrip(b"\r\n") + b"\n" for line in lines]
        if len(places) == len(lines):
            self._seen.add(map(hash, lines), chunk.numbers, chunk.offsets)
        else:
            self._seen.add(
                [hash(lines[place]) for place in places],
                [chunk.numbers[place] for place in places],
                [chunk.offsets[place] for place in places],
            )

    def _note_crlf(self, chunk: Chunk) -> None:
        found = [chunk.numbers[place] for place, line in enumerate(chunk.lines) if line.endswith(b"\r\n")]
        self._crlf_lines += len(found)
        self._crlf = self._crlf or found[:1]

    def _check_file(self) -> None:
        tell = self._findings.tell
        self._findings.line = None
        size = self._fingerprint.size_bytes
        if self._reader.in_place and not self._reader.path.endswith(".jsonl"):
            tell("file.extension", None, PurePath(self._reader.path).name)
        if size > MAX_FILE_BYTES:
            tell("file.too_large", None, Words(f"{size:,} bytes"))
        if not self.rows:
            tell("file.empty", None, Words("no example"))
        elif self.rows < MIN_ROWS:
            rule = "file.few_validation_rows" if self._plan.held_out else "file.too_few_rows"
            tell(rule, None, Words(f"{self.rows} example{'s' * (self.rows != 1)}"))
        if self._reader.bom:
            self._findings.line = 1
            tell("file.bom", None, Words("a byte order mark"))
        if self._crlf:
            self._findings.line = self._crlf[0]
            tell("file.crlf", None, Words(f"CRLF, on {self._crlf_lines:,} line{'s' * (self._crlf_lines != 1)}"))

    def _check_duplicates(self) -> None:
        for line, earlier in duplicates(self._seen):
            self._findings.line = line
            self._findings.tell("row.duplicate", None, Words(f"the same as {self._reader.unit} {earlier}"))
        if self._train is not None:
            for line, earlier in overlap(self._seen, self._train._seen):  # noqa: SLF001  # the same class
                self._findings.line = line
                self._findings.tell(
                    "row.overlap",
                    None,
                    Words(f"the same as {self._train._reader.unit} {earlier} of {self._train._reader.path}"),  # noqa: SLF001
                )

    def close(self) -> None:
        """Delete its temporary file."""
        self._seen.close()

    def report(self, *, validation: DatasetReport | None = None) -> DatasetReport:
        """Make the report."""
        tokens = self._tally.total()
        n_epochs = self._plan.n_epochs or auto_epochs(self.rows)
        billed = not self._plan.held_out and self.format is not None and self.format != "reinforcement"
        trained = max(0, tokens.total - self._cut_tokens) * n_epochs if billed else None
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
