"""The rules for "auto", and the limits that hold for every trainer. They are public: users plan with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tuneway.errors import InvalidSpec
from tuneway.models import DPOHyperparameters, Hyperparameters, ReinforcementHyperparameters

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODELS: dict[str, type[Hyperparameters]] = {
    "supervised": Hyperparameters,
    "dpo": DPOHyperparameters,
    "reinforcement": ReinforcementHyperparameters,
}


def auto_epochs(n_examples: int) -> int:
    """Three epochs; more (at most 25) to reach 100 examples in total, fewer to stay within 25,000."""
    if n_examples * 3 < 100:
        return min(25, math.ceil(100 / max(1, n_examples)))
    return min(3, max(1, 25_000 // n_examples))


def settle(method: str, requested: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults`, replaced by requested values that aren't "auto" or null.

    Raises `InvalidSpec` for a value outside of its limits, and for a name that isn't among the defaults.
    """
    for name in requested:
        if name not in defaults and requested[name] is not None:
            raise InvalidSpec(
                f"{name} is not a hyperparameter of {method} here",
                field=name,
                hint=f"There are: {', '.join(defaults)}.",
            )
    try:
        checked = _MODELS[method].model_validate(dict(requested))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[-1]
        field = str(wrong["loc"][0]) if wrong["loc"] else "hyperparameters"
        raise InvalidSpec(f"{field}: {wrong['msg']}", field=field, hint='Or leave it at "auto".') from None
    chosen = {name: getattr(checked, name, None) for name in defaults}
    return {name: defaults[name] if value in (None, "auto") else value for name, value in chosen.items()}
