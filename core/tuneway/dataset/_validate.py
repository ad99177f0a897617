"""Check a training file, and its validation file, in one pass over each."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, get_args

from tuneway.dataset._formats import items_of
from tuneway.dataset._prices import load_prices
from tuneway.dataset._reading import open_reader, path_text
from tuneway.dataset._report import DatasetReport, Format, ValidateProgress
from tuneway.dataset._rules import MAX_LINE_BYTES
from tuneway.dataset._scan import Plan, Progress, Scan
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuneway.models import Grader


def validate(
    training_data: str | os.PathLike[str] | None = None,
    *,
    validation_data: str | os.PathLike[str] | None = None,
    format: Format | None = None,  # noqa: A002  # the word that users know it by
    model: str | None = None,
    n_epochs: int | str | None = None,
    grader: Grader | dict[str, Any] | None = None,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    on_progress: Callable[[ValidateProgress], object] | None = None,
    tokenizer: str | Callable[[str], int] | None = None,
    max_shown: int = 50,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> DatasetReport:
    """Check training data against every rule of `RULES`, in one pass and in constant memory.

    Bad data is reported, never raised; `report.raise_for_errors()` raises it.

    Args:
        training_data: The training file.
        validation_data: The validation file: checked too, and for rows that the training file has as well. Given
            alone, it is checked by the rules for validation data, which may have few rows.
        format: The data's format; left out, what most of the first rows look like, or what a grader is for.
        model: What is to be trained: decides on the tokenizer, the longest example and the price.
        n_epochs: How often training goes over the data; left out or "auto", what the service would choose.
        grader: For reinforcement: each `{{item.X}}` in it must be in every row.
        prices: Your own prices, before ours: dollars for a million trained tokens, by model, or a JSON file.
        on_progress: Told each megabyte.
        tokenizer: "estimate", the name of an encoding, or a function that counts the tokens of a text;
            left out, the model's own where the `tokens` extra is installed.
        max_shown: How many errors and how many warnings the report keeps. It counts all.
        max_line_bytes: A longer line is an error instead of a load on the memory; a megabyte is always taken.

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
    plan = plan._replace(held_out=training_data is None)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(open_reader(path_text(name, field), field=field, max_line_bytes=max_line_bytes))
            for field, name in paths.items()
        ]
        progress = Progress(on_progress, sum(reader.total_bytes for reader in readers))
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
        raise InvalidSpec(f"format: {format_!r} is none of {', '.join(formats)}", field="format")
    return format_


def _epochs(n_epochs: int | str | None) -> int | None:
    if n_epochs in (None, "auto"):
        return None
    if not isinstance(n_epochs, int) or isinstance(n_epochs, bool) or not 1 <= n_epochs <= 50:
        raise InvalidSpec(f'n_epochs: {n_epochs!r} is neither "auto" nor a number from 1 to 50', field="n_epochs")
    return n_epochs


def _items(grader: Any) -> frozenset[str]:
    if grader is None:
        return frozenset()
    try:
        return items_of(grader)
    except AttributeError:
        raise InvalidSpec(f"grader: {type(grader).__name__} is neither a grader nor a dict", field="grader") from None
