"""Look at a PNG without an imaging library."""

from __future__ import annotations

import struct
import zlib


def pixels(png: bytes) -> list[list[tuple[int, ...]]]:
    """The lines of an 8-bit RGB or RGBA image, each a list of pixels."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed, header = 8, b"", b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[colours]
    raw = zlib.decompress(packed)
    before = bytes(width * size)
    lines = []
    for number in range(height):
        start = number * (width * size + 1)
        line = bytearray(raw[start + 1 : start + 1 + width * size])
        _unfilter(raw[start], line, before, size)
        before = bytes(line)
        lines.append([tuple(line[x : x + size]) for x in range(0, len(line), size)])
    return lines


def _unfilter(kind: int, line: bytearray, above: bytes, size: int) -> None:
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        up = above[i]
        corner = above[i - size] if i >= size else 0
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda one: abs(guess - one))
        line[i] = (line[i] + (0, left, up, (left + up) // 2, nearest)[kind]) & 0xFF
