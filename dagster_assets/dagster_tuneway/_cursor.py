"""What the sensor keeps from tick to tick: small JSON, in Dagster's own database."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tuneway import WaitToken
from tuneway.errors import InvalidInput

SETTLED = 60.0
"""The age in seconds from which the sensor doesn't read a submission again.

Entries of Dagster's log don't become visible in their order: of two that are written at once, the later may show
first. A reader that goes on strictly after the last one that it saw can miss one.
"""


class _Kept(BaseModel):
    """Keeps the fields that a later version adds."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="allow")


class WatchedJob(_Kept):
    """A job that was submitted and isn't reported yet.

    Args:
        asset: The job's asset.
        partition: Its partition, if it has any.
        event: The id of the submission's entry in Dagster's log; it is reported once for each.
        run: The run that submitted it.
        token: What to wait for, and until when.
        failures: How many looks in a row have failed.
        nameless: How many looks have shown that it succeeded, without its model's name.
    """

    asset: str
    partition: str | None = None
    event: int
    run: str
    token: WaitToken
    failures: int = 0
    nameless: int = 0


class Unregistered(_Kept):
    """A job that has made a model, which isn't registered yet.

    Args:
        asset: The job's asset.
        partition: Its partition, if it has any.
        event: The id of the submission's entry in Dagster's log.
        job_id: The job.
        asked: How many runs were asked for.
        failed_run: The last run of them that is known to have failed.
        failed_at: When that was seen.
    """

    asset: str
    partition: str | None = None
    event: int
    job_id: str
    asked: int = 1
    failed_run: str | None = None
    failed_at: float = 0.0


class Cursor(_Kept):
    """All that the sensor keeps.

    Args:
        after: For each asset, the entry up to which all submissions are read.
        known: The later entries that are read as well.
        open: The jobs that are watched.
        unregistered: The jobs whose models aren't registered yet.
    """

    v: int = 1
    after: dict[str, int] = {}
    known: dict[str, list[int]] = {}
    open: list[WatchedJob] = []
    unregistered: list[Unregistered] = []

    @classmethod
    def load(cls, text: str | None) -> Self:
        """Read the cursor of the tick before; it is empty at the first, and after a reset."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError as error:
            raise InvalidInput(
                f"the sensor's cursor can't be read: {error.errors()[0]['msg']}",
                hint="Reset it: jobs that are open are found again, and none is reported twice.",
            ) from None

    def dump(self) -> str:
        """Write it for the next tick."""
        return self.model_dump_json(exclude_defaults=True)
