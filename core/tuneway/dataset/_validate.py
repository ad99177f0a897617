"""Check a training file and its validation file, each in one pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tuneway.data import GivenData
from tuneway.dataset._plan import plan_of
from tuneway.dataset._report import DatasetReport, Format, ValidateProgress
from tuneway.dataset._rules import MAX_LINE_BYTES
from tuneway.dataset.ready import checked_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuneway.choices import Order
    from tuneway.models import Grader


def validate(
    training_data: Any = None,
    *,
    validation_data: Any = None,
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
    processes: int = 1,
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
        processes: How many processes check a large JSONL file on this machine, at most: no more than the processors
            that this process may use. The report is the same. With a tokenizer that is a function, it is one.

    Raises:
        InvalidSpec: A file can't be read, or a setting is wrong.
    """
    given = GivenData(training_data=training_data, validation_data=validation_data, row=row, order=order)
    plan = plan_of(
        format=format, model=model, n_epochs=n_epochs, grader=grader, prices=prices, tokenizer=tokenizer,
        max_shown=max_shown, processes=processes,
    )  # fmt: skip
    with checked_data(given, plan, on_progress=on_progress, max_line_bytes=max_line_bytes) as ready:
        assert ready.report is not None
        return ready.report
