"""Make untrusted text safe, with one function for each place where text goes.

Untrusted is what a service sends, and what data files contain: ids, names, messages, metrics. It is kept as it is, and
changed only where it leaves: for a terminal or a log (`printable`, `one_line`), for JSON on a terminal (`json_line`),
for a spreadsheet (`csv_cell`), for Markdown (`markdown`), for a web page (`html`), for an address (`url_segment`), for
the name of a file (`file_name`) or of an artifact (`slug`). `excerpt`, `columns_shown` and `path_shown` are for values
of the user that an error names: they show a few characters, so that no training row reaches a log.
"""

from __future__ import annotations

import hashlib
import html as _html
import itertools
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sized
from typing import Any

FEW = 16
"""How many characters of a value an error shows."""

_MOST_KEYS = 4
_MOST_COLUMNS = 20
_LONGEST_NAME = 120
_LONGEST_PATH = 1000
_LONGEST_PART = 255
_MOST_WORDS = 5

# Control characters (the C1 ones too: some terminals take one of them for a whole escape sequence), line and paragraph
# separators, what changes the direction of the text, what is invisible, halves of characters.
_CONTROL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_UNPRINTABLE = re.compile(f"[{_CONTROL}]")
_UNPRINTABLE_IN_LINE = re.compile(f"[\t\n{_CONTROL}]")

# What XML 1.0 forbids, what browsers take for something else, and overrides of the text's direction.
_NOT_IN_HTML = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Excel, LibreOffice and Google Sheets run a cell that begins like this, also in the wide forms of these characters.
_FORMULA = re.compile(r"[\s\ufffd]*[=+\-@＝＋－＠]")

_COLUMN = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


# --- terminals and logs


def printable(value: object, *, lines: bool = True) -> str:
    """Replace what a terminal would obey: escape sequences, and what moves or hides text.

    Args:
        value: The text.
        lines: Whether line ends and tabs stay; else each becomes a space.
    """
    text = str(value).replace("\r\n", "\n")
    if not lines:
        text = text.replace("\n", " ").replace("\t", " ")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(value: object, limit: int = 300) -> str:
    """Put a text on one line, with single spaces, cut at `limit` characters."""
    text = " ".join(printable(value).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def json_line(text: str) -> str:
    """Escape what a terminal would obey in a line of JSON, which stays the same JSON."""
    return _UNPRINTABLE_IN_LINE.sub(lambda found: _json_escape(found[0]), text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


# --- spreadsheets, Markdown, web pages


def csv_cell(value: object) -> object:
    """Make a cell of one line that no spreadsheet runs. Numbers stay; what begins like a formula gets a quote."""
    if value is None or isinstance(value, int | float):
        return value
    text = printable(value, lines=False)
    return f"'{text}" if _FORMULA.match(text) else text


def markdown(value: object, *, cell: bool = False, limit: int = 300) -> str:
    """Write a text as code, in which nothing has a meaning: no link, no image, no HTML, also no bare address.

    Args:
        value: The text.
        cell: Whether it stands in a table, where a bar would end the cell.
        limit: The most characters that are shown.
    """
    text = one_line(value, limit)
    if not text:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    if cell:
        text = re.sub(r"(\\*)\|", r"\1\1\\|", text)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def html(value: object) -> str:
    """Escape a text, so that it is safe between tags and in quoted attributes."""
    return _html.escape(_NOT_IN_HTML.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


# --- addresses and names


def url_segment(identifier: str, *, keep: str = "") -> str:
    """Quote an id as one segment of an address: it can't end the segment, and can't be a step up."""
    quoted = urllib.parse.quote(identifier, safe=keep, errors="replace")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def file_name(identifier: str, suffix: str = "") -> str:
    """The name of a file for an id: it names no folder, isn't hidden, and isn't too long.

    An id of letters, digits, dashes, underscores and inner dots is its own name. Two ids have two names.
    """
    fits = len(identifier) <= _LONGEST_NAME
    if fits and _PLAIN_NAME.fullmatch(identifier) and not _RESERVED.fullmatch(identifier):
        return identifier + suffix
    quoted = urllib.parse.quote(identifier, safe="", errors="surrogatepass")
    quoted = re.sub(r"^\.|\.$", "%2E", quoted.replace("~", "%7E"))
    if fits and quoted and len(quoted) <= 2 * _LONGEST_NAME - len(suffix) and not _RESERVED.fullmatch(quoted):
        return quoted + suffix
    return f"{re.sub(r'%?[^A-Za-z0-9_-]', '-', quoted)[:_LONGEST_NAME]}~{_digest(identifier)}{suffix}"


def slug(identifier: str) -> str:
    """An id as lower-case letters, digits and dashes. Where more than case and `_.:` is lost, a hash keeps it apart."""
    words = re.sub(r"[^a-z0-9]+", "-", identifier.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    kept = bool(words) and len(identifier) <= _LONGEST_NAME and re.fullmatch(r"[A-Za-z0-9_.:-]+", identifier)
    return words if kept else f"{words}-{_digest(identifier)}".strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- what an error shows of a value


class Words(str):
    """Words of ours about a value, which are printed as they are."""

    __slots__ = ()


def excerpt(value: Any) -> str:
    """Describe a value by its kind and a few of its characters, so that no training row is printed."""
    match value:
        case Words():
            text = str(value)
        case str():
            text = repr(value[:FEW]) + ("…" if len(value) > FEW else "")
        case None | True | False:
            text = {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            text = f"{value!r:.{FEW}}" if abs(value) < 10**FEW else "a very large number"
        case Mapping():
            keys = ", ".join(repr(str(key)[:FEW]) for key in list(value)[:_MOST_KEYS])
            text = f"an object with {keys}{', …' if len(value) > _MOST_KEYS else ''}" if value else "an empty object"
        case list() | tuple():
            text = f"a list of {len(value)}" if value else "an empty list"
        case bytes() | bytearray():
            text = f"{len(value):,} bytes"
        case _:
            text = _of_its_kind(value)
    return encodable(text)


def _of_its_kind(value: object) -> str:
    text = repr(value) if type(value).__repr__ is not object.__repr__ and not isinstance(value, Sized) else ""
    return text if 0 < len(text) <= FEW else f"a {type(value).__name__}"


def columns_shown(names: Iterable[str]) -> str:
    """The names of columns as an error shows them. Where a header is missing, they are the texts of a row."""
    some = [name if _COLUMN.fullmatch(name) else excerpt(name) for name in itertools.islice(names, _MOST_COLUMNS + 1)]
    return ", ".join([*some[:_MOST_COLUMNS], "…"] if len(some) > _MOST_COLUMNS else some) or "none"


def encodable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 can't encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def path_shown(path: str | os.PathLike[str]) -> str:
    """A path as an error shows it: whole, unless it is more likely a text that stands where a path was meant."""
    text = os.fsdecode(path)
    parts = re.split(r"[/\\]", text)
    is_path = (
        len(text) <= _LONGEST_PATH
        and _UNPRINTABLE_IN_LINE.search(text) is None
        and text.lstrip()[:1] not in ("{", "[")
        and all(len(part) <= _LONGEST_PART and len(part.split()) <= _MOST_WORDS for part in parts)
        and (len(parts) > 1 or " " not in text or re.search(r"\.\w{1,8}$", text) is not None)
    )
    return text if is_path else f"{excerpt(text)} ({len(text):,} characters)"
