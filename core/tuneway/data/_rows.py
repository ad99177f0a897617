"""Turn data that isn't lines yet into lines: rows of an iterable, of a frame, or of columns by a template."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import Any

from tuneway._escape import columns_shown
from tuneway.data._encoding import WrittenLines, encode_some
from tuneway.data._frames import BATCH_ROWS, FrameRows, NotReadable
from tuneway.data._native import ChatBatch, NativeBatch
from tuneway.data._template import RowTemplate
from tuneway.data._values import NotJson
from tuneway.errors import InvalidSpec

FORMATS = "messages (chat, reinforcement), prompt and completion, or input, preferred_output and non_preferred_output"
_ANY_OF = ({"messages"}, {"prompt"}, {"completion"}, {"preferred_output"}, {"non_preferred_output"})


class OnceRows:
    """The rows of an iterator, which can be read only once.

    Args:
        rows: The iterator.
    """

    def __init__(self, rows: Iterator[Mapping[str, Any]]) -> None:
        self._rows: Iterator[Mapping[str, Any]] | None = rows

    def __repr__(self) -> str:
        return "OnceRows(…)"

    def take(self, field: str) -> Iterator[Mapping[str, Any]]:
        """The rows; a second call is refused, instead of giving none."""
        rows, self._rows = self._rows, None
        if rows is None:
            raise InvalidSpec(
                f"{field}: these rows come from an iterator, which has been read already",
                field=field,
                hint="Give a list, or a function that returns the rows.",
            )
        return rows


def lines_of(frame: FrameRows, template: RowTemplate | None, *, field: str) -> Iterator[WrittenLines]:
    """Write the rows of a frame as lines, some at a time. Its columns are checked first."""
    number, lines = 0, WrittenLines()
    try:
        _check_columns(frame, template, field)
        for batch in frame.batches():
            written = batch.lines() if template is None and isinstance(batch, NativeBatch) else None
            if written is not None:
                lines = written
                yield lines
                number += len(lines)
                continue
            rows = iter(batch) if template is None else map(template, batch)
            while True:
                lines = WrittenLines()
                encode_some(rows, lines)
                if not lines:
                    break
                yield lines
                number += len(lines)
    except NotJson as error:
        raise _refused(frame.name, number + len(lines), str(error), field, hint=error.hint) from None
    except NotReadable as error:
        raise InvalidSpec(f"{field}: {error}", field=field, hint=error.hint) from None


def frame_of_rows(rows: Callable[[], Iterable[Any]], *, field: str) -> FrameRows:
    """See an iterable of mappings as a frame. The first row says which columns there are."""
    given = rows()
    iterator = iter(given)
    start = list(islice(iterator, 1))

    def checked(some: Iterable[Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(some, first):
            yield row if type(row) is dict else _mapping(row, number, field)

    def batches() -> Iterator[Iterable[Mapping[str, Any]]]:
        if not isinstance(given, list):
            yield checked(chain(start, iterator))
            return
        for first in range(0, len(given), BATCH_ROWS):
            some = given[first : first + BATCH_ROWS]
            rows = partial(checked, some, first)
            only_messages = set(map(type, some)) == {dict} and set(map(len, some)) == {1}
            yield ChatBatch([row.get("messages") for row in some], rows) if only_messages else rows()

    columns = list(_mapping(start[0], 0, field)) if start else ["messages"]
    return FrameRows(field, lambda: columns, batches)


def _check_columns(frame: FrameRows, template: RowTemplate | None, field: str) -> None:
    if template is not None:
        template.check(frame.columns, frame.name)
    else:
        check_columns(frame.columns, frame.name, field)
    used = [column for column in frame.columns if template is None or column in template.columns]
    twice = next((column for column in used if used.count(column) > 1), None)
    if twice is not None:
        raise InvalidSpec(f"{field}: {frame.name} has the column {columns_shown([twice])} twice", field=field)


def check_columns(columns: Iterable[str], name: str, field: str) -> None:
    """Refuse a frame none of whose columns is training data: it needs a template."""
    has = list(columns)
    if any(needed & set(has) for needed in _ANY_OF):
        return
    raise InvalidSpec(
        f"{field}: {name} has the columns {columns_shown(has)}; training data has {FORMATS}",
        field=field,
        hint="Say how rows are made of the columns: row={'user': '{question}', 'assistant': '{answer}'}; on the command"
        " line --row user=question --row assistant=answer.",
    )


def _mapping(row: Any, number: int, field: str) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    made = getattr(row, "_mapping", None)  # of SQLAlchemy
    if isinstance(made, Mapping):
        return made
    with suppress(ValueError, TypeError):  # such as a model that contains itself
        for method in ("model_dump", "_asdict"):  # a pydantic model, a named tuple
            convert = getattr(row, method, None)
            if callable(convert) and isinstance(made := convert(), Mapping):
                return made
        if callable(getattr(row, "keys", None)) and not hasattr(row, "columns"):  # a row of sqlite3 or asyncpg
            return dict(row)
    what = f"is a {type(row).__name__}, not a mapping such as {{'messages': […]}}"
    hint = "Let the cursor give mappings: with sqlite3 by row_factory = sqlite3.Row." if type(row) is tuple else None
    raise _refused(field, number, what, field, hint=hint)


def _refused(name: str, number: int, what: str, field: str, *, hint: str | None) -> InvalidSpec:
    return InvalidSpec(f"{name}, row {number}: {what}", field=field, hint=hint)
