"""Prices of training, with the date of the table, and the context lengths of base models."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneway._folders import expanded
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

PRICES_AS_OF = "2026-06-30"
USD_PER_MILLION_TRAINED_TOKENS = {
    "gpt-4.1": 25.0,
    "gpt-4.1-mini": 5.0,
    "gpt-4o": 25.0,
    "gpt-4o-mini": 3.0,
}

_CONTEXTS = {"gpt-4o": 65_536, "gpt-4.1": 65_536, "gpt-3.5-turbo": 16_385}
_DEFAULT_CONTEXT = 65_536
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


class Price(NamedTuple):
    """The price of a million trained tokens in dollars, and its date; None for the user's own price."""

    usd_per_million: float
    model: str
    as_of: str | None


def base_model(name: str) -> str:
    """Get the base model from a model's name: `ft:gpt-4o-mini-2024-07-18:acme::abc` → `gpt-4o-mini-2024-07-18`."""
    return name.split(":")[1] if name.startswith("ft:") and name.count(":") > 1 else name


def names_of(model: str) -> list[str]:
    """The names to look a model up by: its own name, its base model, and the base model without the date."""
    base = base_model(model)
    return list(dict.fromkeys([model, base, _DATE.sub("", base)]))


def is_family(model: str, family: str) -> bool:
    """Whether a model belongs to a family: `gpt-4o-mini` belongs to `gpt-4o`, `gpt-4` doesn't."""
    base = base_model(model)
    return base == family or base.startswith(f"{family}-")


def training_context(model: str | None) -> int | None:
    """How many tokens of an example are trained on; None if that is unknown."""
    if model is None:
        return _DEFAULT_CONTEXT
    return next((limit for family, limit in _CONTEXTS.items() if is_family(model, family)), None)


def price_of(model: str | None, own: Mapping[str, float]) -> Price | None:
    """The price of training a model, from the user's table or else from ours; None if it is unknown."""
    for table, day in ((own, None), (USD_PER_MILLION_TRAINED_TOKENS, PRICES_AS_OF)):
        for name in names_of(model) if model else ():
            if name in table:
                return Price(table[name], name, day)
    return None


def load_prices(prices: Mapping[str, float] | str | os.PathLike[str] | None) -> dict[str, float]:
    """Load the user's prices: a mapping of models to dollars for a million trained tokens, or a JSON file of one."""
    table: Any = {} if prices is None else prices
    if not hasattr(table, "items"):
        try:
            with expanded(table).open(encoding="utf-8") as file:
                table = json.load(file)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidSpec(f"the price table {prices} can't be read: {error}", field="prices") from None
    wrong = [
        name
        for name, usd in (table.items() if hasattr(table, "items") else [("it", None)])
        if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < float("inf")
    ]
    if wrong:
        raise InvalidSpec(
            f"prices: {wrong[0]} is not a price",
            field="prices",
            hint='Write dollars for a million tokens, such as {"my-model": 3.0}.',
        )
    return dict(table)
