"""Check a training file and its validation file, each in one pass."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, get_args

from tuneway._escape import excerpt
from tuneway.dataset._formats import items_of
from tuneway.dataset._prices import load_prices
from tuneway.dataset._reading import Reader, open_reader, path_text
from tuneway.dataset._report import DatasetReport, Format, ValidateProgress
from tuneway.dataset._rules import MAX_LINE_BYTES
from tuneway.dataset._scan import Plan, Progress, Scan
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tuneway.models import Grader


def validate(
    training_data: str | os.PathLike[str] | None = None,
    *,
    validation_data: str | os.PathLike[str] | None = None,
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
        training_data: The training file.
        validation_data: The validation file. It is checked as well, also for rows that are in the training file.
            Given alone, it is checked by the rules for validation data, which may have few rows.
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
    given = {"training_data": training_data, "validation_data": validation_data}
    paths = {field: data for field, data in given.items() if data is not None}
    if not paths:
        raise InvalidSpec("there is no data to check", field="training_data", hint="Give training_data.")
    with ExitStack() as stack:
        readers = [
            stack.enter_context(open_reader(path_text(name, field), field=field, max_line_bytes=max_line_bytes))
            for field, name in paths.items()
        ]
        progress = Progress(on_progress, sum(reader.total_bytes for reader in readers))
        return _scanned(readers, plan._replace(held_out=training_data is None), progress)


def _scanned(readers: Sequence[Reader], plan: Plan, progress: Progress) -> DatasetReport:
    """Read one file, or the training file and then the validation file."""
    with ExitStack() as stack:
        train = stack.enter_context(closing(Scan(readers[0], plan)))
        train.run(progress)
        if len(readers) == 1:
            return train.report()
        plan = plan._replace(format=train.format, held_out=True)
        held_out = stack.enter_context(closing(Scan(readers[1], plan, train=train)))
        held_out.run(progress)
        return train.report(validation=held_out.report())


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
