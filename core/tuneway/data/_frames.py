"""Read rows from frames, batch by batch: pandas, polars, Arrow, DuckDB, Ibis, and what narwhals knows beside them.

No library is imported here unless the data is already one of its objects, or a file that only it can read.
"""

from __future__ import annotations

import codecs
import csv
import importlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import islice
from typing import Any, BinaryIO

from tuneway.data._native import Batch, ChatBatch, arrow_batch, arrow_values, polars_batch
from tuneway.data._spool import Spool
from tuneway.data._stores import reader_of, suffix_of
from tuneway.errors import TunewayError

BATCH_ROWS = 1024
_LIBRARY_ROWS = 4096  # polars spends a third of a millisecond on each batch
_BATCH_BYTES = 2**22
_LARGE_BATCH = 2**24
_COPIED = 2**20
_PAGES_BYTES = 2**16
_FREED_BATCHES = 8
_CELL_CHARACTERS = 2**23

SUFFIXES = (".parquet", ".arrow", ".feather", ".csv")
"""The files that are frames."""

READ_IN_ORDER = (".csv",)
"""The formats that are read from start to end. The others begin with the end of the file."""


class NotReadable(Exception):
    """A frame can't be read."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class PackageMissing(NotReadable):
    """A frame needs a package that isn't installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(
            f"{what} can't be read without the package {package}",
            f"Install it: pip install {package}, or pip install 'tuneway[frames]'.",
        )


class FrameRows:
    """A frame: its name for people, its columns, and its rows in batches.

    Args:
        name: What it is, for errors: "a pandas DataFrame".
        columns: Gives the names of its columns.
        batches: Gives its rows.
        is_file: Whether the name is that of a file.
    """

    def __init__(
        self,
        name: str,
        columns: Callable[[], Iterable[object]],
        batches: Callable[[], Iterator[Batch]],
        *,
        is_file: bool = False,
    ) -> None:
        self.name = name
        self.batches = batches
        self.is_file = is_file
        self._columns = columns

    @cached_property
    def columns(self) -> list[str]:
        """The names of its columns. A lazy frame may have to begin its query."""
        return [str(column) for column in self._columns()]


def frame_of(data: Any) -> FrameRows | None:
    """The frame that an object is; None if it is none."""
    maker = _MAKERS.get(type(data).__module__.partition(".")[0])
    found = maker(data) if maker is not None else None
    if found is None and hasattr(data, "__arrow_c_stream__"):
        found = _stream(data, name=_kind(data))
    if found is None and (hasattr(data, "__narwhals_dataframe__") or hasattr(data, "__narwhals_lazyframe__")):
        found = _narwhals(data)
    if found is None and hasattr(data, "columns") and not isinstance(data, Mapping):
        found = _narwhals(data)
    return found


def frame_file(file: BinaryIO, name: str) -> FrameRows:
    """The frame in an open file: Parquet, Arrow's own format (Feather), or CSV.

    Raises:
        NotReadable: The file isn't what its name says.
        PackageMissing: It can't be read without a package.
    """
    reader = {".csv": _csv, ".parquet": _parquet}.get(suffix_of(name), _ipc)
    with _readable(name):
        columns, batches = reader(file, name)

    def checked() -> Iterator[Batch]:
        with _readable(name):
            yield from batches

    return FrameRows(name, lambda: columns, checked, is_file=True)


def _csv(file: BinaryIO, name: str) -> tuple[Iterable[str], Iterable[Batch]]:
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))  # there is one for the whole process
    rows = csv.DictReader(codecs.iterdecode(reader_of(file), "utf-8-sig"))

    def told(read: Callable[[], Iterable[Any]]) -> list[Any]:
        try:
            return list(read())
        except UnicodeDecodeError:
            raise NotReadable(f"{name}:{rows.line_num + 1} isn't UTF-8", "Save the file as UTF-8.") from None
        except csv.Error as error:  # its text has no values
            place = f"{name}, after line {rows.line_num}"
            raise NotReadable(f"{place}: this isn't CSV: {error}", "Is a quote missing?") from None

    return told(lambda: rows.fieldnames or ()), iter(lambda: told(lambda: islice(rows, BATCH_ROWS)), [])


def _parquet(file: BinaryIO, name: str) -> tuple[Iterable[str], Iterable[Batch]]:
    # with a buffer, each column is read page by page, not a whole row group at once
    opened = _needs("pyarrow.parquet", name).ParquetFile(file, buffer_size=_PAGES_BYTES, pre_buffer=False)
    groups = map(opened.metadata.row_group, range(opened.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    rows = min(BATCH_ROWS, max(1, opened.metadata.num_rows * _BATCH_BYTES // max(1, size)))
    return opened.schema_arrow.names, _freed(opened.iter_batches(rows, use_threads=False))


def _freed(batches: Iterable[Any]) -> Iterator[Batch]:
    """Batches of pages that were decoded. Arrow would keep the memory of many of them."""
    pool = _needs("pyarrow", "").default_memory_pool()
    for number, batch in enumerate(batches):
        if not number % _FREED_BATCHES:
            pool.release_unused()
        yield arrow_batch(batch)


def _ipc(file: BinaryIO, name: str) -> tuple[Iterable[str], Iterable[Batch]]:
    ipc = _needs("pyarrow.ipc", name)
    try:
        opened = ipc.open_file(file)
    except ValueError:  # the other form: a stream
        file.seek(0)
        opened = ipc.open_stream(file)
        return opened.schema.names, _parts(opened)
    count = opened.num_record_batches
    if file.seek(0, os.SEEK_END) <= count * _LARGE_BATCH:
        return opened.schema.names, _parts(map(opened.get_batch, range(count)))
    mapped = _mapped(file)
    opened = ipc.open_file(_needs("pyarrow", name).BufferReader(mapped))
    return opened.schema.names, _unloaded(mapped, _parts(map(opened.get_batch, range(count))))


def _mapped(file: BinaryIO) -> mmap.mmap:
    """A file of large batches as memory, of which the system loads the parts that are used.

    It is a copy: if the file itself were mapped, and then cut by another process, the system would end this one.
    """
    file.seek(0)
    with Spool() as copy:
        while block := file.read(_COPIED):
            copy.write(block)
        with copy.open() as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _unloaded(mapped: mmap.mmap, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches that lie in mapped memory; what was used is unloaded again."""
    for number, batch in enumerate(batches):
        if not number % _FREED_BATCHES and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        yield batch


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn the errors of a file's reader into ours. Their texts may have values of rows in them."""
    try:
        yield
    except TunewayError:  # of the store that it lies in
        raise
    except UnicodeDecodeError as error:
        raise NotReadable(f"{name} isn't UTF-8", f"Byte {error.start:,} of a block can't be decoded.") from None
    except (ValueError, OSError, csv.Error) as error:  # pyarrow's errors are these
        if getattr(error, "strerror", None):
            raise
        kind = suffix_of(name).removeprefix(".")
        raise NotReadable(
            f"{name} isn't a {kind} file that can be read", f"{type(error).__name__} was raised."
        ) from None


def _query(name: str, columns: Callable[[], Iterable[object]], batches: Callable[[], Iterator[Batch]]) -> FrameRows:
    """A frame whose library may run a query when it is read."""

    def its_columns() -> Iterable[object]:
        with _running(name):
            return columns()

    def its_batches() -> Iterator[Batch]:
        with _running(name):
            yield from batches()

    return FrameRows(name, its_columns, its_batches)


@contextmanager
def _running(name: str) -> Iterator[None]:
    """Turn the errors of a query into ours. Their texts may have values of rows in them."""
    try:
        yield
    except (NotReadable, TunewayError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # each library has its own
        raise NotReadable(
            f"{name} can't be read: {type(error).__name__} was raised", "Run its query alone to see why."
        ) from None


def _pandas(data: Any) -> FrameRows | None:
    if not hasattr(data, "iloc") or not hasattr(data, "columns"):
        return None
    columns = [str(column) for column in data.columns]

    def batches() -> Iterator[Batch]:
        for start in range(0, len(data), BATCH_ROWS):
            part = data.iloc[start : start + BATCH_ROWS]
            values = [_pandas_values(part.iloc[:, place]) for place in range(len(columns))]
            if columns == ["messages"]:
                yield ChatBatch(values[0], partial(_rows_of_messages, values[0]))
            elif len(columns) == 1:
                yield ({columns[0]: value} for value in values[0])
            else:
                yield [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]

    return FrameRows("a pandas DataFrame", lambda: columns, batches)


def _pandas_values(column: Any) -> list[Any]:
    if hasattr(column.dtype, "pyarrow_dtype"):  # Arrow's types have more kinds of values than pandas' own
        return arrow_values(column.array.__arrow_array__())
    values: list[Any] = column.tolist()
    return values


def _rows_of_messages(messages: list[Any]) -> Batch:
    return ({"messages": value} for value in messages)


def _polars(data: Any) -> FrameRows | None:
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # lazy: the query runs when its rows are read

        def batches() -> Iterator[Batch]:
            if hasattr(data, "collect_batches"):
                return map(polars_batch, data.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True))
            return map(polars_batch, data.collect().iter_slices(BATCH_ROWS))

        return _query("a polars LazyFrame", lambda: data.collect_schema().names(), batches)
    if not hasattr(data, "iter_slices"):
        return None
    rows = min(_LIBRARY_ROWS, max(1, data.height * _BATCH_BYTES // max(1, data.estimated_size())))
    return FrameRows("a polars DataFrame", lambda: data.columns, lambda: map(polars_batch, data.iter_slices(rows)))


def _pyarrow(data: Any) -> FrameRows | None:
    name = f"an Arrow {type(data).__name__}"
    if hasattr(data, "to_reader"):  # a table, or a scanner
        return _arrow(data.to_reader, name=name)
    if hasattr(data, "to_pylist") and hasattr(data, "schema"):
        return FrameRows(name, lambda: data.schema.names, lambda: _parts([data]))
    if hasattr(data, "read_next_batch"):
        return _arrow(lambda: data, name=name)
    if hasattr(data, "scanner"):  # a dataset of several files
        return _query(name, lambda: data.schema.names, lambda: _dataset(data))
    return None


def _dataset(data: Any) -> Iterator[Batch]:
    """The batches of a data set of several files. Arrow would read many of them ahead."""
    options: dict[str, Any] = {"batch_readahead": 0, "fragment_readahead": 0, "use_threads": False}
    if getattr(getattr(data, "format", None), "default_extname", "") == "parquet":
        parquet = importlib.import_module("pyarrow.dataset").ParquetFragmentScanOptions
        options["fragment_scan_options"] = parquet(use_buffered_stream=True, buffer_size=_PAGES_BYTES, pre_buffer=False)
    return _freed(data.to_batches(batch_size=BATCH_ROWS, **options))


def _arrow(make: Callable[[], Any], *, name: str) -> FrameRows:
    """A frame that gives its rows as batches of Arrow. `make` gives the reader, and runs the query if there is one."""
    readers: list[Any] = []

    def columns() -> list[str]:
        readers.append(make())
        return list(readers[0].schema.names)

    def batches() -> Iterator[Batch]:
        yield from _parts(readers.pop() if readers else make())

    return _query(name, columns, batches)


def _parts(batches: Iterable[Any]) -> Iterator[Batch]:
    """Batches of Arrow, cut into small ones."""
    for batch in batches:
        rows = min(BATCH_ROWS, max(1, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, rows):
            yield arrow_batch(batch.slice(start, rows))


def _stream(data: Any, *, name: str) -> FrameRows:
    """A frame that speaks Arrow's C interface for streams."""
    pyarrow = _needs("pyarrow", name)

    def reader() -> Any:
        try:
            return pyarrow.RecordBatchReader.from_stream(data)
        except pyarrow.ArrowInvalid as error:
            if "non-struct" not in str(error):
                raise
            raise NotReadable(
                f"{name} is one column, not a table", "Give a frame with that column: data.to_frame()."
            ) from None

    return _arrow(reader, name=name)


def _duckdb(data: Any) -> FrameRows | None:
    """A relation. By Arrow's C interface, it would give a million rows in one batch."""
    name = "a DuckDB relation"
    reader = getattr(data, "to_arrow_reader", None) or getattr(data, "fetch_record_batch", None)
    if reader is None or not hasattr(data, "columns"):
        return None
    _needs("pyarrow", name)
    return _arrow(lambda: reader(_LIBRARY_ROWS), name=name)


def _ibis(data: Any) -> FrameRows | None:
    if not hasattr(data, "to_pyarrow_batches"):
        return None

    def batches() -> Iterator[Batch]:
        return _parts(data.to_pyarrow_batches(chunk_size=BATCH_ROWS))

    return _query("an Ibis table", lambda: data.schema().names, batches)


def _narwhals(data: Any) -> FrameRows | None:
    narwhals = _needs("narwhals", _kind(data))
    found = narwhals.from_native(data, pass_through=True)
    if not isinstance(found, narwhals.DataFrame | narwhals.LazyFrame):
        return None

    def batches() -> Iterator[Batch]:
        whole = found.collect() if isinstance(found, narwhals.LazyFrame) else found  # only now: it runs the query
        return iter([whole.iter_rows(named=True, buffer_size=BATCH_ROWS)])

    return _query(_kind(data), lambda: found.collect_schema().names(), batches)


_MAKERS: dict[str, Callable[[Any], FrameRows | None]] = {
    "_duckdb": _duckdb,
    "duckdb": _duckdb,
    "ibis": _ibis,
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _pyarrow,
}


def _kind(data: Any) -> str:
    return f"a {type(data).__module__.partition('.')[0]} {type(data).__name__}"


def _needs(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise PackageMissing(what, package) from None
