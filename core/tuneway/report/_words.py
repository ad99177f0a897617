"""Figures and times in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tuneway.models import Job

_LONGEST = 6000


def moment(epoch: float | None) -> str | None:
    """A point in time, to the minute, in UTC."""
    if epoch is None:
        return None
    try:
        return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return None


def duration(seconds: float) -> str:
    """A span of time by its two largest units."""
    total = round(seconds)
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def trainer_of(job: Job) -> str | None:
    """What truly trained, where a service maps the names of models onto its own trainers and says so."""
    usage = (job.model_extra or {}).get("usage_metrics")
    return usage.get("trainer") if isinstance(usage, dict) else None


def size(count: float) -> str:
    """A number of bytes."""
    unit = "bytes"
    for larger in ("kB", "MB", "GB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:,.1f}".removesuffix(".0") + f" {unit}"


def money(amount: float, currency: str) -> str:
    """An amount of money; small ones keep the figures that count."""
    figures = f"{amount:,.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"
    return f"${figures}" if currency == "USD" else f"{figures} {currency}"


def shortened(text: str, limit: int = _LONGEST) -> str:
    """Text that fits on a page."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings, named by their dotted path."""
    found: dict[str, str] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{name}.")
        elif inner is not None:
            found[name] = shortened(str(inner), 500)
    return found
