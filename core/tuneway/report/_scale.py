"""The axes of charts: their ranges and ticks, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# From this ratio of highest to lowest value on, an axis is logarithmic; a linear one would hide the low values.
_LOG_FROM = 100.0
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Scale:
    """A mapping from values to positions between `start` and `end`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def labels(self) -> list[tuple[float, str]]:
        """The position and text of each tick."""
        if self.log or len(self.ticks) < 2:
            texts = [brief(tick) for tick in self.ticks]
        else:
            texts = _tick_texts(self.ticks, self.ticks[1] - self.ticks[0])
        return [(self(tick), text) for tick, text in zip(self.ticks, texts, strict=True)]


def value_scale(values: Sequence[float], *, start: float, end: float, share: bool = False) -> Scale:
    """Make the axis of a metric: logarithmic if the values differ by orders of magnitude, else linear.

    `share` says that the metric is between 0 and 1, so the axis gets no ticks outside.
    """
    low, high = min(values), max(values)
    if not share and low > 0 and high / low >= _LOG_FROM:
        return _log_scale(low, high, start=start, end=end)
    if 0 < low < 0.15 * high:
        low = 0.0
    low, high = _apart(low, high)
    step = nice_step((high - low) / 5)
    bottom, top = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if share and min(values) >= 0 and max(values) <= 1:
        bottom, top = max(bottom, 0), min(top, round(1 / step))
    ticks = tuple(_tidy(k * step) for k in range(bottom, top + 1))
    return Scale(ticks[0], ticks[-1], ticks, start, end)


def step_scale(low: float, high: float, *, start: float, end: float, count: int = 8) -> Scale:
    """Make the axis of training steps, from the first to the last, with whole numbers as ticks."""
    low, high = _apart(low, high, least=1.0)
    step = max(1.0, nice_step((high - low) / count))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(_tidy(k * step) for k in range(first, last + 1))
    return Scale(low, high, ticks, start, end)


def nice_step(rough: float) -> float:
    """Round up to 1, 2, 5 or 10 times a power of ten."""
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(nice * magnitude for nice in (1.0, 2.0, 5.0, 10.0, 20.0) if nice * magnitude >= rough * (1 - 1e-9))


def brief(value: float) -> str:
    """Write a number with up to four digits, thousands as k, and very small ones as 2.5e-5."""
    size = abs(value)
    for unit, letter in _UNITS:
        if max(unit, 9999.5) <= size < 1e12:
            return f"{value / unit:.4g}{letter}"
    if size and not 1e-3 <= size < 1e12:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def figure(value: float) -> str:
    """Write a number with four digits, trailing zeros included, so that the numbers in a column align."""
    return f"{value:#.4g}" if 1e-3 <= abs(value) < 999.95 else brief(value)


def _log_scale(low: float, high: float, *, start: float, end: float) -> Scale:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    mantissas: tuple[int, ...] = (1, 2, 5) if decades <= 2.2 else (1, 3) if decades <= 3.2 else (1,)
    stride = max(1, math.ceil((last - first) / 6))
    every = (m * 10.0**k for k in range(first, last + 1, stride) for m in mantissas)
    ticks = tuple(float(f"{tick:.3g}") for tick in every if low <= tick <= high)
    # the axis doesn't end at a tick, since the next one may be a factor of ten away
    room = (high / low) ** 0.03
    return Scale(low / room, high * room, ticks, start, end, log=True)


def _apart(low: float, high: float, *, least: float | None = None) -> tuple[float, float]:
    """Widen a range that is too narrow: one point, or values that differ only by rounding."""
    size = max(abs(low), abs(high))
    if high - low > 1e-6 * size:
        return low, high
    pad = max(least, 1e-6 * size) if least else size / 2 or 1.0
    return low - pad, high + pad


def _tidy(value: float) -> float:
    """Remove the rounding error of binary fractions: 0.30000000000000004 is 0.3."""
    return float(f"{value:.10g}")


def _tick_texts(ticks: Sequence[float], step: float) -> list[str]:
    """Write ticks with as few digits as are needed to distinguish them."""
    largest = max(abs(tick) for tick in ticks)
    # k, M and G are used only if no tick then needs more than two decimals
    usual = [(unit, letter) for unit, letter in _UNITS if largest >= 10 * unit and step >= unit / 100]
    unit, letter = usual[0] if usual else (1.0, "")
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    if decimals > 4 or largest / unit >= 1e7:
        return [f"{tick:.7g}" for tick in ticks]
    return [f"{tick / unit:.{decimals}f}{letter}" for tick in ticks]
