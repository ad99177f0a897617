"""Make rows of columns that aren't conversations yet: `row={"user": "{question}", "assistant": "{answer}"}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from tuneway._escape import columns_shown
from tuneway.data._values import is_null, plain
from tuneway.errors import InvalidSpec

ROLES = ("system", "developer", "user", "assistant")
OUTPUTS = ("preferred_output", "non_preferred_output")

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class _Piece(NamedTuple):
    """A part of a text: words, or the name of a column."""

    text: str
    is_column: bool = False


class RowTemplate:
    """Says how each row is made of the columns.

    Args:
        fields: What each field is made of. `system`, `developer`, `user` and `assistant` become messages, in the order
            given. `preferred_output` and `non_preferred_output` become answers. Other fields are taken as they are. A
            text may name columns in braces; two braces stand for one. A field that is one column alone keeps its
            kind: a list stays a list.
        field: The name of the argument, for errors.
    """

    def __init__(self, fields: Any, *, field: str = "row") -> None:
        self._field = field
        if not isinstance(fields, Mapping) or not fields:
            raise self._wrong("is not a mapping such as {'user': '{question}', 'assistant': '{answer}'}")
        self._made = {str(name): self._compile(str(name), text) for name, text in fields.items()}
        self.columns = frozenset(column for columns, _ in self._made.values() for column in columns)
        if not self.columns:
            raise self._wrong("names no column", hint="Put the name of a column in braces: '{question}'.")
        texts = {text for text in fields.values() if isinstance(text, str)}
        self._constants = {text for text in texts if "{" not in text}
        self._messages = [name for name in self._made if name in ROLES]
        self._outputs = [name for name in self._made if name in OUTPUTS]

    def check(self, columns: Iterable[str], name: str) -> None:
        """Refuse data that lacks a column of the template; `columns` are those that it has."""
        has = list(columns)
        missing = sorted(self.columns - set(has))
        if missing:
            raise InvalidSpec(
                f"{self._field}: {name} has no column {', '.join(map(repr, missing))}",
                field=self._field,
                hint=f"It has: {columns_shown(has)}.",
            )
        unquoted = sorted(self._constants & set(has))
        if unquoted:
            raise InvalidSpec(
                f"{self._field}: {unquoted[0]!r} is a column, and would be written into every row as a word",
                field=self._field,
                hint=f"Write '{{{unquoted[0]}}}'.",
            )

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Make a row. A column that is null leaves its message without content, which the check of the data finds."""
        values = {name: make(columns) for name, (_, make) in self._made.items()}
        row: dict[str, Any] = {}
        if self._messages:
            messages = [_message(role, values.pop(role), where=role) for role in self._messages]
            if self._outputs:
                row["input"] = {"messages": messages}
            else:
                row["messages"] = messages
        for name in self._outputs:
            row[name] = [_message("assistant", values.pop(name), where=name)]
        return row | values

    def _compile(self, name: str, text: Any) -> tuple[frozenset[str], Callable[[Mapping[str, Any]], Any]]:
        if not isinstance(text, str):
            raise self._wrong(f"[{name!r}] is a {type(text).__name__}, not a text with columns in braces")
        pieces: list[_Piece] = []
        end = 0
        for match in _PIECES.finditer(text):
            pieces.append(_Piece(text[end : match.start()]))
            end = match.end()
            if match[0] in ("{{", "}}"):
                pieces.append(_Piece(match[0][0]))
            elif match[1]:
                pieces.append(_Piece(match[1], is_column=True))
            else:
                raise self._wrong(f"[{name!r}] has a brace without a column", hint="Two braces stand for one.")
        pieces.append(_Piece(text[end:]))
        pieces = [piece for piece in pieces if piece.text]
        columns = frozenset(piece.text for piece in pieces if piece.is_column)
        if len(pieces) == 1 and columns:
            return columns, lambda row: row.get(pieces[0].text)
        return columns, lambda row: _fill(pieces, row)

    def _wrong(self, what: str, *, hint: str | None = None) -> InvalidSpec:
        return InvalidSpec(f"{self._field}{'' if what.startswith('[') else ' '}{what}", field=self._field, hint=hint)


def _fill(pieces: list[_Piece], row: Mapping[str, Any]) -> str | None:
    values = [row.get(piece.text) if piece.is_column else piece.text for piece in pieces]
    if any(map(is_null, values)):
        return None
    return "".join(_text(value, piece.text) for value, piece in zip(values, pieces, strict=True))


def _message(role: str, value: Any, *, where: str) -> dict[str, Any]:
    found = None if is_null(value) else plain(value, where)
    return {"role": role, "content": found if found is None or isinstance(found, list) else _as_text(found)}


def _text(value: Any, where: str) -> str:
    return _as_text(plain(value, where))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()
