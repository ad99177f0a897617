"""Check a training file and its validation file, each in one pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, get_args

from tuneway._escape import excerpt
from tuneway.dataset._formats import items_of
from tuneway.dataset._prepared import Given, checked_data
from tuneway.dataset._prices import load_prices
from tuneway.dataset._report import DatasetReport, Format, ValidateProgress
from tuneway.dataset._rules import MAX_LINE_BYTES
from tuneway.dataset._scan import Plan
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuneway.data import Data, Order
    from tuneway.models import Grader


def validate(
    training_data: Data | None = None,
    *,
    validation_data: Data | float | None = None,
    row: Mapping[str, str] | None = None,
    order: Order = "given",
    format: Format | None = None,  # noqa: A002  # the word that users know
    model: str | None = None,
    n_epochs: int | str | None = None,
    grader: Grader | dict[str, Any] | None = None,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    on_progress: Callable[[ValidateProgress], object] | None = None,
    tokenizer: str | Callable[[str], int] | None = None,
    max_shown: int = 50,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> DatasetReport:
    """Check training data by all `RULES`, in one pass and in constant memory.

    Errors in the data are reported, not raised; `report.raise_for_errors()` raises them.

    Args:
        training_data: The training data: a path or URL of JSONL, Parquet, Arrow or CSV; rows; or a frame.
        validation_data: The validation data, likewise. It is checked as well, also for rows that are in the training
            data. Given alone, it is checked by the rules for validation data, which may have few rows. A number is the
            share of the training data that is split off for it.
        row: How a row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows gives the same file.
        format: The format of the data. The default is that of most of the first rows, or "reinforcement" with a
            grader.
        model: The model to train. It decides the tokenizer, the longest example and the price.
        n_epochs: The number of epochs. The default, also "auto", is what the service would choose.
        grader: The grader, for reinforcement. Each row must have a field for each `{{item.X}}` in it.
        prices: Your own prices, which replace ours: dollars for a million trained tokens by model, or a JSON file.
        on_progress: Called about once a megabyte.
        tokenizer: "estimate", the name of an encoding, or a function that counts the tokens of a text. The default
            is the model's own tokenizer if the `tokens` extra is installed, else the estimate.
        max_shown: The most errors, and the most warnings, that the report contains. It counts all of them.
        max_line_bytes: A line with more bytes is an error, so that memory stays constant. Lines up to a megabyte
            are always read.

    Raises:
        InvalidSpec: A file can't be read, or a setting is wrong.
    """
    plan = Plan(
        format=_one_of(format, get_args(Format)) or ("reinforcement" if grader else None),
        model=model,
        n_epochs=_epochs(n_epochs),
        items=_items(grader),
        prices=load_prices(prices),
        tokenizer=tokenizer,
        max_shown=max(0, max_shown),
    )
    given = Given(training_data=training_data, validation_data=validation_data, row=row, order=order)
    with checked_data(given, plan, on_progress=on_progress, max_line_bytes=max_line_bytes) as ready:
        assert ready.report is not None
        return ready.report


def _one_of(format_: Any, formats: tuple[str, ...]) -> Any:
    if format_ is not None and format_ not in formats:
        raise InvalidSpec(f"format: {excerpt(format_)} is not one of {', '.join(formats)}", field="format")
    return format_


def _epochs(n_epochs: int | str | None) -> int | None:
    if n_epochs in (None, "auto"):
        return None
    if not isinstance(n_epochs, int) or isinstance(n_epochs, bool) or not 1 <= n_epochs <= 50:
        raise InvalidSpec(
            f'n_epochs: {excerpt(n_epochs)} is neither "auto" nor a number from 1 to 50', field="n_epochs"
        )
    return n_epochs


def _items(grader: Any) -> frozenset[str]:
    if grader is None:
        return frozenset()
    try:
        return items_of(grader)
    except AttributeError:
        raise InvalidSpec(f"grader: {type(grader).__name__} is neither a grader nor a dict", field="grader") from None
