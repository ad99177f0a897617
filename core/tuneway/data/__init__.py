"""Data wherever it is: files, object stores, web addresses, rows, frames; all of it becomes the same JSON lines."""

from tuneway.data._encoding import encode
from tuneway.data._sources import Data, Order, name_of, normal
from tuneway.data._spool import Spool
from tuneway.data._stream import HeldOut, LineStream, Readable, Unit, stream_of

__all__ = [
    "Data",
    "HeldOut",
    "LineStream",
    "Order",
    "Readable",
    "Spool",
    "Unit",
    "encode",
    "name_of",
    "normal",
    "stream_of",
]
