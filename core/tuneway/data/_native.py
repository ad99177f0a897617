"""Write batches of frames as JSON lines by the frame's own library, so that no Python object is made of a value.

What is written is what `encode` writes. A batch that may come out otherwise isn't taken: it goes row by row.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from tuneway.data._encoding import ROLES, WrittenLines, is_plain_chat
from tuneway.data._values import NoValue

Batch = Iterable[Mapping[str, Any]]

_LARGEST = 2**28  # an escape has up to six characters, and an Arrow array of text up to 2 GiB
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RARE = {chr(code): to_json(chr(code)).decode()[1:-1] for code in range(32) if chr(code) not in _ESCAPES}
_PLAIN = {"role": "string", "content": "string"}
_NAME = re.compile(r"[\w-]+", re.ASCII)
_MOST_BYTES = 2**22  # of a batch of Python's own objects
_FEW_ROWS = 16
_EXACT = 2.0**53  # larger floats stand for several integers


class NotTaken(Exception):
    """A batch has to go row by row."""


class NativeBatch:
    """Rows of a frame that its library may be able to write.

    Args:
        rows: Gives the rows.
        lines: Gives all of them as JSON lines; raises `NotTaken` if that can't be done.
        plain: Says whether all of them are plain chats, of rows that can be written.
    """

    def __init__(
        self,
        rows: Callable[[], Iterable[Mapping[str, Any]]],
        lines: Callable[[], bytes],
        plain: Callable[[], bool],
    ) -> None:
        self._rows = rows
        self._lines = lines
        self._plain = plain

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._rows())

    def lines(self) -> WrittenLines | None:
        """All rows as JSON lines, if its library can write them."""
        try:
            lines = WrittenLines(self._lines().splitlines(keepends=True))  # JSON has no line end within a line
            lines.plain_chats = self._plain()
        except (NotTaken, ValueError, NotImplementedError):  # the latter two: what older versions of Arrow can't do
            return None
        return lines


class ChatBatch(NativeBatch):
    """Rows that have only messages, which are Python's own objects.

    Args:
        messages: The messages of each row.
        rows: Gives the rows.
    """

    def __init__(self, messages: Sequence[Any], rows: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        super().__init__(rows, bytes, lambda: True)
        self._messages = messages

    def lines(self) -> WrittenLines | None:
        """All rows as JSON lines, if they are plain chats and not too much text."""
        if not all(map(is_plain_chat, self._messages)):
            return None
        lines, size = WrittenLines(), 0
        for start in range(0, len(self._messages), _FEW_ROWS):
            few = self._messages[start : start + _FEW_ROWS]
            try:
                some = [b'{"messages":' + to_json(messages) + b"}\n" for messages in few]
            except ValueError:  # half a character
                return None
            size += sum(map(len, some))
            if size > _MOST_BYTES:
                return None
            lines += some
        lines.plain_chats = True
        return lines


def arrow_batch(batch: Any) -> NativeBatch:
    """A record batch of pyarrow."""
    return NativeBatch(lambda: _arrow_rows(batch), lambda: _arrow_lines(batch), lambda: _arrow_plain(batch))


def polars_batch(frame: Any) -> NativeBatch:
    """A data frame of polars."""
    return NativeBatch(frame.to_dicts, lambda: _polars_lines(frame), lambda: _polars_plain(frame))


def _arrow_rows(batch: Any) -> Batch:
    columns = map(arrow_values, batch.columns)
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def arrow_values(array: Any) -> list[Any]:
    """The values of an Arrow array as Python's own: maps are mappings, and times have microseconds."""
    kind = _in_microseconds(array.type)
    if kind != array.type:
        array = array.cast(kind, safe=False)
    try:
        values: list[Any] = array.to_pylist(maps_as_pydicts="strict")
    except (KeyError, ValueError, OverflowError):  # of one value, or some
        return [_value(array.slice(place, 1)) for place in range(len(array))]
    return values


def _value(array: Any) -> Any:
    kind = str(array.type).partition("<")[0]
    try:
        return array.to_pylist(maps_as_pydicts="strict")[0]
    except KeyError:
        return NoValue(f"is a {kind} that has a key twice")
    except (ValueError, OverflowError):
        return NoValue(f"is a {kind} that Python has no value for")


def _in_microseconds(kind: Any) -> Any:
    """A type with microseconds in place of nanoseconds, which Python's times don't have."""
    import pyarrow as pa

    def inner(field: Any) -> Any:
        return field.with_type(_in_microseconds(field.type))

    types, made = pa.types, kind
    if types.is_timestamp(kind) and kind.unit == "ns":
        made = pa.timestamp("us", kind.tz)
    elif types.is_time64(kind):
        made = pa.time64("us")
    elif types.is_struct(kind):
        made = pa.struct([inner(kind.field(place)) for place in range(kind.num_fields)])
    elif types.is_map(kind):
        made = pa.map_(inner(kind.key_field), inner(kind.item_field))
    elif types.is_fixed_size_list(kind):
        made = pa.list_(inner(kind.value_field), kind.list_size)
    elif types.is_list(kind) or types.is_large_list(kind):
        made = (pa.list_ if types.is_list(kind) else pa.large_list)(inner(kind.value_field))
    return made


def _arrow_lines(batch: Any) -> bytes:
    import pyarrow.compute as pc

    if batch.nbytes > _LARGEST or not batch.num_columns or not batch.num_rows:
        raise NotTaken
    text = _joined([*_object(batch.schema.names, batch.columns), "\n"])
    return bytes(memoryview(text.buffers()[2])[: pc.sum(pc.binary_length(text)).as_py()])


Pieces = list[Any]
"""What makes a text when it is joined: constants, and Arrow arrays of texts."""


def _joined(pieces: Pieces) -> Any:
    import pyarrow.compute as pc

    merged: Pieces = []
    for piece in pieces:
        if merged and isinstance(piece, str) and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return pc.binary_join_element_wise(*merged, "") if len(merged) > 1 else merged[0]


def _object(names: list[str], columns: list[Any]) -> Pieces:
    """The texts of objects. A field that is null is left out."""
    import pyarrow.compute as pc

    if len(set(names)) < len(names):
        raise NotTaken
    fields = [[f",{to_json(name).decode()}:", *_pieces(column)] for name, column in zip(names, columns, strict=True)]
    if any(part.null_count for field in fields for part in field if not isinstance(part, str)):
        text = pc.binary_join_element_wise("{", *map(_joined, fields), "", null_handling="skip")
        return [pc.binary_replace_slice(text, start=1, stop=2, replacement=""), "}"]  # the comma before the first
    parts = [part for field in fields for part in field]
    return ["{", parts[0][1:], *parts[1:], "}"]


def _pieces(array: Any) -> Pieces:
    """The JSON text of each value of an Arrow array. Joined, it is null where the value is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = array.type, pa.types
    if types.is_dictionary(kind):
        return _pieces(array.dictionary_decode())
    if types.is_string(kind) or types.is_large_string(kind):
        return ['"', _escaped(array.cast(pa.string())), '"']
    if types.is_struct(kind) and kind.num_fields:
        pieces = _object([kind.field(place).name for place in range(kind.num_fields)], array.flatten())
        return (
            [pc.if_else(array.is_valid(), _joined(pieces), pa.scalar(None, pa.string()))]
            if array.null_count
            else pieces
        )
    if types.is_list(kind) or types.is_large_list(kind):
        return _list(array)
    if types.is_floating(kind):
        array = _whole(array)
    elif types.is_null(kind):
        return [pa.nulls(len(array), pa.string())]
    elif not (types.is_integer(kind) or types.is_boolean(kind)):
        raise NotTaken
    return [array.cast(pa.string())]


def _whole(array: Any) -> Any:
    """Floats as integers; NaN becomes null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = array.cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less(pc.abs(values), _EXACT))
    if pc.all(whole).as_py() is False:
        raise NotTaken
    return values.cast(pa.int64())


def _list(array: Any) -> Pieces:
    import pyarrow.compute as pc

    offsets = array.offsets
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    texts = pc.coalesce(_joined(_pieces(array.values.slice(first, last - first))), "null")
    mask = array.is_null() if array.null_count else None
    return ["[", pc.binary_join(type(array).from_arrays(pc.subtract(offsets, first), texts, mask=mask), ","), "]"]


def _escaped(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    data = _data(array)
    for character, escape in _ESCAPES.items():
        if character.encode() in data:
            array = pc.replace_substring(array, character, escape)
    data = _data(array)
    if len(data) and pc.min(pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])).as_py() < 32:
        for character, escape in _RARE.items():
            if character.encode() in data:
                array = pc.replace_substring(array, character, escape)
    return array


def _data(array: Any) -> bytes:
    """The bytes of an array of text, one text after the other."""
    buffer = array.buffers()[2]
    if buffer is None or not len(array):
        return b""
    ends = memoryview(array.buffers()[1]).cast("i")
    return bytes(memoryview(buffer)[ends[array.offset] : ends[array.offset + len(array)]])


def _arrow_plain(batch: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = batch.column(0)
    if batch.schema.names != ["messages"] or not pa.types.is_list(lists.type) or lists.null_count:
        return False
    messages = lists.flatten()
    kind = messages.type
    if not pa.types.is_struct(kind) or {field.name: str(field.type) for field in kind} != _PLAIN or messages.null_count:
        return False
    roles, texts = (messages.field(name) for name in ("role", "content"))
    if roles.null_count or texts.null_count or not set(roles.unique().to_pylist()) <= ROLES:
        return False
    places = pc.list_parent_indices(lists).filter(pc.equal(roles, "assistant"))
    return bool(pc.count_distinct(places).as_py() == len(lists))


def _polars_plain(frame: Any) -> bool:
    lists = frame.to_series(0)
    if frame.columns != ["messages"] or lists.null_count() or lists.dtype.base_type().__name__ != "List":
        return False
    kind = lists.dtype.inner
    if kind.base_type().__name__ != "Struct" or {field.name: str(field.dtype) for field in kind.fields} != {
        name: type_.capitalize() for name, type_ in _PLAIN.items()
    }:
        return False
    sizes = lists.list.len().cast(int)
    if not sizes.min():  # what becomes of empty lists below differs between versions
        return False
    messages = lists.explode()
    roles, texts = (messages.struct.field(name) for name in ("role", "content"))
    if roles.null_count() or texts.null_count() or not set(roles.unique().to_list()) <= ROLES:
        return False
    answers = (roles == "assistant").cast(int).cum_sum()
    upto = answers.gather(sizes.cum_sum() - 1)  # all answers up to the end of each list
    return bool(upto[0] > 0 and (len(upto) == 1 or upto.diff().min() > 0))


def _polars_lines(frame: Any) -> bytes:
    names: set[str] = set()
    for name, kind in frame.schema.items():
        names.add(name)
        _add_names(kind, names)
    file = io.BytesIO()
    frame.write_ndjson(file)
    lines = file.getvalue()
    if b'":null' in lines:
        lines = _without_nulls(lines, names)
    return lines


def _add_names(kind: Any, names: set[str]) -> None:
    """Add the names of fields in a type; only types that polars writes as `encode` does are taken."""
    match kind.base_type().__name__:
        case "List":
            _add_names(kind.inner, names)
        case "Struct" if kind.fields:
            for field in kind.fields:
                names.add(field.name)
                _add_names(field.dtype, names)
        case "String" | "Boolean":
            pass
        case _ if not kind.is_integer():
            raise NotTaken


def _without_nulls(lines: bytes, names: set[str]) -> bytes:
    """Leave out fields that are null. In a text, quotes are escaped, so nothing in a text looks like such a field."""
    if not all(map(_NAME.fullmatch, names)):
        raise NotTaken
    nulls = [one for one in (f'"{name}":null'.encode() for name in names) if one in lines]
    for null in nulls:
        lines = lines.replace(b"," + null, b"")
    for null in nulls:  # those that stand first
        lines = lines.replace(b"{" + null + b",", b"{").replace(b"{" + null + b"}", b"{}")
    return lines
