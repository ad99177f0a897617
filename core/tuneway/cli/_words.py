"""Figures, times and other people's text, as a terminal shows them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

# Whatever a service or a file says, it shall not move the cursor, recolour the screen or ring the bell.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(value: Any) -> str:
    """Other people's text without control characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value).replace("\r\n", "\n"))


def one_line(value: Any, limit: int = 300) -> str:
    """Other people's text on one line of bearable length."""
    text = " ".join(printable(value).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def count(number: float, noun: str, plural: str | None = None) -> str:
    """A number of things."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A span of time by its two largest units."""
    total = max(round(seconds), 0)
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def moment(epoch: float | None) -> str:
    """A point in time, to the minute, where the reader is."""
    if epoch is None:
        return "–"
    try:
        return f"{datetime.fromtimestamp(epoch).astimezone():%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return "–"


def ago(epoch: float | None, now: float) -> str:
    """How long since a point in time, by its largest unit."""
    if epoch is None:
        return "–"
    passed = max(now - epoch, 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed // size:.0f} {unit} ago"
    return "just now"


def size(number: float) -> str:
    """So many bytes."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number:,.0f} bytes"


def money(amount: float, currency: str = "USD") -> str:
    """An amount of money; small ones keep the figures that count."""
    figures = f"{amount:,.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"
    return f"${figures}" if currency == "USD" else f"{figures} {currency}"


def figure(value: float) -> str:
    """A loss, an accuracy or a reward."""
    return f"{value:.4g}"
