"""The settings of a check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from tuneway._escape import excerpt
from tuneway.dataset._formats import items_of
from tuneway.dataset._prices import load_prices
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from tuneway.dataset._report import Format
    from tuneway.models import Grader


class Plan(NamedTuple):
    """The settings of a check."""

    format: Format | None
    model: str | None
    n_epochs: int | None
    items: frozenset[str]
    prices: dict[str, float]
    tokenizer: str | Callable[[str], int] | None
    max_shown: int
    validation: bool = False
    """Whether this is validation data. It may be small, and isn't trained on."""
    row_keys: Mapping[str, frozenset[str]] | None = None
    """The keys that a row of each format may have, where the service refuses data with others."""
    processes: int = 1


def plan_of(
    *,
    format: Format | None = None,  # noqa: A002  # as for `validate`
    model: str | None = None,
    n_epochs: int | str | None = None,
    grader: Grader | dict[str, Any] | None = None,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    tokenizer: str | Callable[[str], int] | None = None,
    max_shown: int = 50,
    row_keys: Mapping[str, frozenset[str]] | None = None,
    processes: int = 1,
) -> Plan:
    """Check the settings of a check; they are those of `validate`, and the keys that the service allows in a row."""
    from tuneway.dataset._report import Format

    return Plan(
        format=_one_of(format, get_args(Format)) or ("reinforcement" if grader else None),
        model=model,
        n_epochs=_epochs(n_epochs),
        items=_items(grader),
        prices=load_prices(prices),
        tokenizer=tokenizer,
        max_shown=max(0, max_shown),
        row_keys=row_keys,
        processes=_at_least_one(processes),
    )


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


def _at_least_one(processes: Any) -> int:
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise InvalidSpec(f"processes: {excerpt(processes)} is not a number of processes", field="processes")
    return processes


def _items(grader: Any) -> frozenset[str]:
    if grader is None:
        return frozenset()
    try:
        return items_of(grader)
    except AttributeError:
        raise InvalidSpec(f"grader: {type(grader).__name__} is neither a grader nor a dict", field="grader") from None
