"""What a user gave as data, and how it is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tuneway.choices import Order
from tuneway.data._sources import name_of
from tuneway.errors import InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenData:
    """What was given as data, and how rows are made of it.

    Args:
        training_data: The training data.
        validation_data: The validation data, or the share of the training data that is split off for it.
        row: How each row is made of the columns.
        order: "content" sorts the rows by their hash.
    """

    training_data: Any = None
    validation_data: Any = None
    row: Mapping[str, str] | None = None
    order: Order = "given"

    @classmethod
    def of(cls, training_data: Any, validation_data: Any, options: dict[str, Any]) -> Self:
        """Take what says how to read the data out of the arguments of `validate`."""
        how = {name: options.pop(name) for name in ("row", "order") if name in options}
        return cls(training_data=training_data, validation_data=validation_data, **how)

    @property
    def share(self) -> float | None:
        """The share that is split off as validation data."""
        share = self.validation_data
        if not isinstance(share, float | int) or isinstance(share, bool):
            return None
        if not 0 < share < 1:
            raise InvalidSpec(
                f"validation_data: {share} is not a share between 0 and 1", field="validation_data", hint="Say 0.1."
            )
        if self.training_data is None:
            raise InvalidSpec("validation_data: a share needs training data", field="validation_data")
        return float(share)

    @property
    def names(self) -> list[str]:
        """What the data is called in messages, training data first."""
        first = name_of(self.training_data if self.training_data is not None else self.validation_data)
        if self.training_data is None or self.validation_data is None:
            return [first]
        return [first, f"{self.share:g} of {first}" if self.share is not None else name_of(self.validation_data)]

    @property
    def fields(self) -> list[str]:
        """The names of what was given."""
        return [name for name in ("training_data", "validation_data") if getattr(self, name) is not None]
