"""What came of a job: registers, reports, artifacts and asset metadata read it from here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from tuneway.flows import Trained
from tuneway.models import Checkpoint, Event, Job
from tuneway.models._curve import CurveRow, Points, points

if TYPE_CHECKING:
    from tuneway.registry import Cost


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job, under one set of names (`tuneway.models.METRICS`).

    Args:
        trained: Everything that the service has about the job.
        service_url: The service's address.
        free: Whether the service sends no bill.
    """

    trained: Trained
    service_url: str
    free: bool = False

    @property
    def job(self) -> Job:
        """The job."""
        return self.trained.job

    @property
    def model(self) -> str | None:
        """The model that it made, by the service's name for it."""
        return self.job.fine_tuned_model

    @property
    def trainer(self) -> str | None:
        """What trained it, where the service maps model names to trainers of its own."""
        return self.job.trainer

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Its checkpoints, oldest first."""
        return self.trained.checkpoints

    @property
    def events(self) -> list[Event]:
        """Its log, oldest first, if it was fetched."""
        return self.trained.events

    @property
    def missing(self) -> list[str]:
        """What could not be read, in sentences."""
        return self.trained.missing

    @cached_property
    def curve(self) -> list[CurveRow]:
        """What was measured, step by step, wherever the service has it."""
        marks = [{**(one.metrics or {}), "step": one.step_number} for one in self.trained.checkpoints]
        return [*self.trained.rows, *(event for event in self.trained.events if event.metrics), *marks]

    @cached_property
    def points(self) -> Points:
        """Every number that was measured, by the metric's name and the step."""
        return points(self.curve)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        by_step = sorted(self.points.items(), key=lambda point: point[0][1])
        return {name: value for (name, _), value in by_step}

    @property
    def seconds(self) -> float | None:
        """How long the job took, from its creation to its end."""
        return self.job.seconds

    @property
    def cost(self) -> Cost | None:
        """What it cost, by the service or by the dated table of prices; None without a bill or a known price."""
        return None if self.free else cost_of(self.job)


def cost_of(job: Job) -> Cost | None:
    """What a hosted training cost by the service, else by the dated table of prices; None if neither has a price."""
    from tuneway.dataset import price_of
    from tuneway.registry import Cost

    if job.billed_usd is not None:
        return Cost(amount=job.billed_usd, estimated=False)
    price = price_of(job.model, {})
    if price is None or job.trained_tokens is None:
        return None
    return Cost(
        amount=price.usd_per_million * job.trained_tokens / 1e6,
        price_date=date.fromisoformat(price.as_of) if price.as_of else None,
    )
