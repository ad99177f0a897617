"""Check training data before the training is paid for. `validate` reads the data once and applies the `RULES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand

if TYPE_CHECKING:
    from tuneway.dataset._prices import PRICES_AS_OF, USD_PER_MILLION_TRAINED_TOKENS, Price, base_model, price_of
    from tuneway.dataset._reading import fingerprint
    from tuneway.dataset._report import (
        Bin,
        CostEstimate,
        DatasetReport,
        Fingerprint,
        Format,
        Problem,
        TokenCount,
        ValidateProgress,
    )
    from tuneway.dataset._rules import RULES, Rule
    from tuneway.dataset._validate import validate

_HOMES = {
    "tuneway.dataset._prices": ("PRICES_AS_OF", "USD_PER_MILLION_TRAINED_TOKENS", "Price", "base_model", "price_of"),
    "tuneway.dataset._reading": ("fingerprint",),
    "tuneway.dataset._report": (
        "Bin",
        "CostEstimate",
        "DatasetReport",
        "Fingerprint",
        "Format",
        "Problem",
        "TokenCount",
        "ValidateProgress",
    ),
    "tuneway.dataset._rules": ("RULES", "Rule"),
    "tuneway.dataset._validate": ("validate",),
}

__all__ = [
    "PRICES_AS_OF",
    "RULES",
    "USD_PER_MILLION_TRAINED_TOKENS",
    "Bin",
    "CostEstimate",
    "DatasetReport",
    "Fingerprint",
    "Format",
    "Price",
    "Problem",
    "Rule",
    "TokenCount",
    "ValidateProgress",
    "base_model",
    "fingerprint",
    "price_of",
    "validate",
]

__getattr__: Finder = on_demand(__name__, {name: home for home, names in _HOMES.items() for name in names})


def __dir__() -> list[str]:
    return sorted(__all__)
