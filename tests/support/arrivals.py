"""What arrived at a server: requests, with their forms taken apart as they stream by."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from tuneway.calls import FilePart, Form, Request

KEEP = 4 * 1024 * 1024
"""Bytes of one body, or of one file in a form, that are kept."""


class Counted(bytes):
    """What is left of a file that was too large to keep: nothing but its true length."""

    size = 0

    def __len__(self) -> int:
        return self.size


@dataclass
class Part:
    """One part of a form."""

    head: bytes
    content: bytes = b""
    size: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        self.sha256.update(piece)
        if self.size <= KEEP:
            self.content += piece
        else:
            self.content = Counted()
            self.content.size = self.size

    def named(self, word: str) -> str | None:
        found = re.search(rb'; %s="([^"]*)"' % word.encode(), self.head)
        return found[1].decode() if found else None


class FormReader:
    """Takes a multipart body apart as it streams by."""

    def __init__(self, boundary: str) -> None:
        self.parts: list[Part] = []
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = b"\r\n"
        self._in_head = False

    def take(self, piece: bytes) -> None:
        self._buffer += piece
        while self._step():
            pass

    def _step(self) -> bool:
        if self._in_head:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return False
            self.parts.append(Part(head))
            self._buffer, self._in_head = rest, False
            return True
        content, found, rest = self._buffer.partition(self._delimiter)
        if not found:
            tail = len(self._delimiter) - 1
            content, rest = content[:-tail], content[-tail:]
        if self.parts:
            self.parts[-1].take(content)
        self._buffer, self._in_head = rest, bool(found)
        return bool(found)


@dataclass
class Arrival:
    """One request, as it came over the wire."""

    connection: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    size: int = 0
    parts: list[Part] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The path, still encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, still encoded."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """A header's value; no header may come twice."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def request(self, prefix: str) -> Request:
        """As the fake service takes it."""
        path = unquote(self.path.removeprefix(prefix))
        query = tuple(parse_qsl(self.query, keep_blank_values=True))
        request = Request(self.method, path, query, headers=dict(self.headers))
        if self.parts:
            return replace(request, form=self._form())
        if self.body and (self.header("content-type") or "").partition(";")[0] != "application/json":
            return replace(request, content=FilePart("", "", self.body))
        return replace(request, json=self.json if self.body else None)

    def _form(self) -> Form:
        files = [part for part in self.parts if part.named("filename") is not None]
        assert len(files) <= 1, "a form has at most one file"
        fields = tuple((part.named("name") or "", part.content.decode()) for part in self.parts if part not in files)
        source = [FilePart(file.named("name") or "", file.named("filename") or "", file.content) for file in files]
        return Form(fields, *source)
