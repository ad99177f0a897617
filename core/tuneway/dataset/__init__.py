"""Check training data before the training is paid for. `validate` reads the data once and applies the `RULES`."""

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
