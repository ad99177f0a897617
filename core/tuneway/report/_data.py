"""The section with the training data: its size, the lengths of examples, and its problems."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from tuneway._words import shortened, size
from tuneway.report._bars import histogram
from tuneway.report._markup import Markup, h, join
from tuneway.report._parts import MOST, facts_list, table, tag
from tuneway.report._theme import PAGE

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport, Problem


def data_section(data: DatasetReport | None) -> Markup | None:
    """Show the training file, then the validation file."""
    if data is None:
        return None
    facts, chart = _facts(data), _chart(data)
    trained = join(h("div", facts, chart, class_="beside") if chart else facts, _problems(data))
    if data.validation is None:
        return trained
    return join(trained, h("h3", "Validation data"), _facts(data.validation), _problems(data.validation))


def _facts(data: DatasetReport) -> Markup | None:
    tokens = data.tokens
    return facts_list(
        {
            "File": data.path.replace("\\", "/").rpartition("/")[2],
            "Size": size(data.size_bytes),
            "Format": data.format,
            "Examples": f"{data.rows:,}",
            "Tokens" if tokens.exact else "Tokens, estimated": f"{tokens.total:,}",
            "Tokens per example": f"{tokens.min:,} to {tokens.max:,}, median {tokens.median:,}" if data.rows else None,
        }
    )


def _chart(data: DatasetReport) -> Markup | None:
    bars = [(low, high + 1, rows) for low, high, rows in data.tokens.histogram]
    if not bars:
        return None
    return h("figure", h("figcaption", h("h3", "Tokens per example")), histogram(bars, PAGE), class_="chart")


def _problems(data: DatasetReport) -> Markup:
    """Show the problems, errors first, each with its line and a hint."""
    total = data.error_count + data.warning_count
    if not total:
        return h("p", "No problems were found.", class_="note")
    shown = [_row(problem) for problem in chain(data.errors[:MOST], data.warnings[:MOST])]
    left = total - len(shown)
    more = h("p", f"and {left:,} more", class_="note") if left > 0 else None
    return join(table(["", data.unit.capitalize(), "Problem"], shown), more)


def _row(problem: Problem) -> Markup:
    where = f"{problem.where}: " if problem.where else ""
    words = shortened(f"{where}found {problem.found}, expected {problem.expected}", 1000)
    return h(
        "tr",
        h("td", tag(problem.severity)),
        h("td", "–" if problem.line is None else f"{problem.line:,}", class_="number"),
        h("td", words, h("p", shortened(problem.hint, 500), class_="note") if problem.hint else None, dir="auto"),
    )
