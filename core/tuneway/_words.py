"""Format numbers and times for terminals and pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_LONGEST = 6000


def count(number: float, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun, in the singular or the plural."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Write a duration with its two largest units."""
    total = max(round(seconds), 0)
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def moment(epoch: float | None) -> str:
    """Write a point in time to the minute, in the local time zone."""
    if epoch is None:
        return "–"
    try:
        return f"{datetime.fromtimestamp(epoch).astimezone():%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return "–"


def moment_utc(epoch: float | None) -> str | None:
    """Write a point in time to the minute, in UTC."""
    if epoch is None:
        return None
    try:
        return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return None


def ago(epoch: float | None, now: float) -> str:
    """Write how long ago a point in time was, with the largest unit."""
    if epoch is None:
        return "–"
    passed = max(now - epoch, 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed // size:.0f} {unit} ago"
    return "just now"


def size(number: float) -> str:
    """Write a number of bytes with a suitable unit."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number:,.0f} bytes"


def money(amount: float, currency: str = "USD") -> str:
    """Write an amount of money. Amounts below 0.1 keep two significant digits."""
    figures = f"{amount:,.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"
    return f"${figures}" if currency == "USD" else f"{figures} {currency}"


def figure(value: float) -> str:
    """Write a loss, an accuracy or a reward with four significant digits."""
    return f"{value:.4g}"


def shortened(text: str, limit: int = _LONGEST) -> str:
    """Cut a text at `limit` characters, and say how many are left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings; each gets its dotted path as name."""
    found: dict[str, str] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{name}.")
        elif inner is not None:
            found[name] = shortened(str(inner), 500)
    return found
