"""Data wherever it is: files, object stores, web addresses, rows, frames; all of it becomes the same JSON lines."""

from tuneway.data._encoding import WrittenLines, chat_texts, encode, is_plain_chat
from tuneway.data._given import GivenData
from tuneway.data._inputs import is_frame, is_place, shown_input
from tuneway.data._joined import joined
from tuneway.data._local import changed, open_file, stamp_of, unreadable_file
from tuneway.data._sources import ROWS, name_of, normal
from tuneway.data._spool import Spool
from tuneway.data._stores import stem_of
from tuneway.data._stream import HeldOut, LineBlocks, LineStream, Readable, Unit, stream_of
from tuneway.data._temporary import room_needed, temporary_file
from tuneway.data._version import version_of
from tuneway.data._writing import place_name, write_place

__all__ = [
    "ROWS",
    "GivenData",
    "HeldOut",
    "LineBlocks",
    "LineStream",
    "Readable",
    "Spool",
    "Unit",
    "WrittenLines",
    "changed",
    "chat_texts",
    "encode",
    "is_frame",
    "is_place",
    "is_plain_chat",
    "joined",
    "name_of",
    "normal",
    "open_file",
    "place_name",
    "room_needed",
    "shown_input",
    "stamp_of",
    "stem_of",
    "stream_of",
    "temporary_file",
    "unreadable_file",
    "version_of",
    "write_place",
]
