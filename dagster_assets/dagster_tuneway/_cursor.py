"""What the sensor remembers from tick to tick: small JSON, in Dagster's own database."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tuneway import WaitToken
from tuneway.errors import InvalidInput

SETTLED = 60.0
"""So many seconds old are the submissions that the sensor won't read again.

The order of Dagster's log isn't the order in which its entries can be seen: of two that are written at once
the later may show first. Whoever reads on strictly after the last one seen can miss one.
"""


class _Kept(BaseModel):
    """What a later version adds is kept by an earlier one."""

    model_config = ConfigDict(extra="allow")


class WatchedJob(_Kept):
    """A job that was submitted and isn't reported yet.

    Args:
        asset: The job's asset.
        partition: Its partition, if it has any.
        event: The entry of Dagster's log that tells of it; reported once for each.
        run: The run that submitted it.
        token: The wait.
        failures: So many looks in a row have failed.
        nameless: So many looks have shown it succeeded, and its model without a name.
    """

    asset: str
    partition: str | None = None
    event: int
    run: str
    token: WaitToken
    failures: int = 0
    nameless: int = 0


class Cursor(_Kept):
    """All of it.

    Args:
        after: For each asset, up to which entry all submissions have been read for good.
        known: Those after it that have been read as well.
        open: The jobs that are watched.
    """

    v: int = 1
    after: dict[str, int] = {}
    known: dict[str, list[int]] = {}
    open: list[WatchedJob] = []

    @classmethod
    def load(cls, text: str | None) -> Self:
        """From a tick before; empty at the first, or when somebody has reset it."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError as error:
            raise InvalidInput(
                f"the sensor's cursor can't be read: {error.errors()[0]['msg']}",
                hint="Reset it: jobs that are open are found again, and none is reported twice.",
            ) from None

    def dump(self) -> str:
        """For the next tick."""
        return self.model_dump_json(exclude_defaults=True)
