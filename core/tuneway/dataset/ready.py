"""Data that is ready to be sent: read once, checked and hashed, and kept where it isn't a file already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway._folders import expanded
from tuneway.data import ROWS, GivenData, HeldOut, LineStream, Spool, name_of, stem_of, stream_of
from tuneway.dataset._plan import Plan, plan_of
from tuneway.dataset._reading import Reader, open_reader
from tuneway.dataset._report import DatasetReport, Fingerprint, ValidateProgress
from tuneway.dataset._rules import MAX_LINE_BYTES, MIN_ROWS
from tuneway.dataset._scan import Progress, Scan
from tuneway.errors import InvalidInput, InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Prepared", "ReadyFile", "checked_data", "data_of_report", "hashed_data", "plan_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFile:
    """Data that can be sent.

    Args:
        name: A file name that ends in .jsonl.
        source: What it was made of, for people.
        facts: Its hash and size.
        file: Where it lies: a file of the user's, or a temporary file.
    """

    name: str
    source: str
    facts: Fingerprint
    file: Path | Spool


@dataclass(slots=True, kw_only=True)
class Prepared:
    """Data that is ready: the report of its check, if it was checked, and one file or two."""

    report: DatasetReport | None = None
    files: list[ReadyFile] = field(default_factory=list)


@contextmanager
def checked_data(
    given: GivenData,
    plan: Plan,
    *,
    on_progress: Callable[[ValidateProgress], object] | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Prepared]:
    """Read and check data in one pass; it is ready to be sent until the context ends."""
    with ExitStack() as spools, ExitStack() as stack:
        readings = _readings(given, stack, spools, max_line_bytes)
        ready = Prepared()
        reading = next(readings)
        plan = plan._replace(validation=given.training_data is None)
        progress = Progress(on_progress, _given_size(given, reading.reader))
        train = stack.enter_context(closing(Scan(reading.reader, plan)))
        ready.files.append(reading.ready(train.run(progress)))
        held = next(readings, None)
        if held is None:
            ready.report = train.report()
        else:
            plan = plan._replace(format=train.format, validation=True)
            beside = stack.enter_context(closing(Scan(held.reader, plan, train=train)))
            ready.files.append(held.ready(beside.run(progress)))
            ready.report = train.report(validation=beside.report())
            _check_sides(given, ready.report)
        stack.close()
        yield ready


@contextmanager
def hashed_data(given: GivenData) -> Iterator[Prepared]:
    """Read and hash data without checking it; it is ready to be sent until the context ends."""
    with ExitStack() as spools, ExitStack() as stack:
        ready = Prepared()
        for reading in _readings(given, stack, spools, MAX_LINE_BYTES):
            ready.files.append(reading.ready(reading.reader.drain()))
        stack.close()
        yield ready


@contextmanager
def data_of_report(given: GivenData, report: DatasetReport) -> Iterator[Prepared]:
    """Make data ready that was checked before. Files aren't read again; other data has to be the same as then."""
    reports = report.reports
    if (report.validation is None and given.share is not None) or len(reports) != len(given.fields):
        raise InvalidInput("the report is about other data than what is to be uploaded")
    sources = [getattr(given, name) for name in given.fields if name != "validation_data" or not given.share]
    if not all(_may_be_about(one, source) for source, one in zip(sources, reports, strict=False)):
        raise InvalidInput("the report is about other files than those to be uploaded")
    facts = [Fingerprint(one.sha256, one.size_bytes, one.modified_ns) for one in reports]
    if all(one.modified_ns is not None for one in reports):  # files in place
        paths = [Path(one.path) for one in reports]
        yield Prepared(
            report=report,
            files=[
                ReadyFile(name=path.name, source=str(path), facts=fact, file=path)
                for path, fact in zip(paths, facts, strict=True)
            ],
        )
        return
    with hashed_data(given) as ready:
        for file, fact in zip(ready.files, facts, strict=True):
            if file.facts.sha256 != fact.sha256:
                raise InvalidInput(
                    f"{file.source} has changed since it was checked", hint="Check and upload it in one step."
                )
        ready.report = report
        yield ready


def _may_be_about(report: DatasetReport, data: Any) -> bool:
    """Whether a report has the name of this data. Rows have no name of their own: their hash is compared later."""
    name = name_of(data)
    return name == report.path or (name == ROWS and report.modified_ns is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    reader: Reader
    stream: LineStream
    name: str
    spool: Spool | None

    def ready(self, facts: Fingerprint) -> ReadyFile:
        file = self.stream.path or self.spool
        assert file is not None
        return ReadyFile(name=self.name, source=self.stream.name, facts=facts, file=file)


def _readings(given: GivenData, stack: ExitStack, spools: ExitStack, max_line_bytes: int) -> Iterator[_Reading]:
    """Open one after the other what was given. What is split off can be read when the others were read.

    `stack` closes what is only read, `spools` what is also sent.
    """
    fields = given.fields
    if not fields:
        raise InvalidSpec("there is no data to check", field="training_data", hint="Give training_data.")
    stem, share = "", given.share
    held_out = HeldOut(share=share) if share is not None else None
    if held_out is not None:
        spools.enter_context(held_out.spool)
    for name in fields:
        if name == "validation_data" and held_out is not None:
            stream, spool = held_out.stream(), held_out.spool
            reader = stack.enter_context(
                open_reader(stream, field=name, max_line_bytes=max_line_bytes, spool=spool, kept=True)
            )
            yield _Reading(reader=reader, stream=stream, name=f"{stem}-validation.jsonl", spool=spool)
            continue
        stream = stack.enter_context(
            stream_of(
                getattr(given, name), field=name, row=given.row, order=given.order,
                held_out=held_out if name == "training_data" else None,
            )
        )  # fmt: skip
        kept = spools.enter_context(Spool()) if stream.path is None else None
        reader = stack.enter_context(open_reader(stream, field=name, max_line_bytes=max_line_bytes, spool=kept))
        stem = stem_of(stream.name) if stream.is_file else name
        yield _Reading(
            reader=reader, stream=stream, name=stream.path.name if stream.path else f"{stem}.jsonl", spool=kept
        )


def _given_size(given: GivenData, reader: Reader) -> int:
    """How many bytes there are to be read; 0 if that isn't known."""
    total = reader.total_bytes
    if total is None or given.share is not None:
        return 0
    beside = given.validation_data if given.training_data is not None else None
    if beside is None:
        return total
    try:
        return total + expanded(beside).stat().st_size
    except (OSError, TypeError, ValueError):
        return 0


def _check_sides(given: GivenData, report: DatasetReport) -> None:
    """Refuse a split that leaves too little on one side, unless the rows have errors of their own."""
    held = report.validation
    if given.share is None or held is None:
        return
    others = set(report.counts) - {"file.too_few_rows", "file.empty"}
    if min(report.rows, held.rows) >= MIN_ROWS or (report.error_count and others & _errors(report)):
        return
    raise InvalidSpec(
        f"validation_data: a share of {given.share:g} leaves {report.rows:,} rows for training and {held.rows:,} for "
        f"validation; each needs at least {MIN_ROWS}",
        field="validation_data",
        hint="Give more data, another share, or validation data of its own.",
    )


def _errors(report: DatasetReport) -> set[str]:
    return {problem.rule for problem in report.errors}
