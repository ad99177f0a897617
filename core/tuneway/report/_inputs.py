"""The content of a report. Only the job is required; sections without content are left out of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.models import Checkpoint, Event, Job
    from tuneway.outcome import Outcome
    from tuneway.registry import Cost, Evaluation, ModelVersion
    from tuneway.report._series import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAnswer:
    """One question with the answers of the base model and the tuned model. Scores are from 0 to 1."""

    prompt: str
    tuned: str
    base: str | None = None
    expected: str | None = None
    tuned_score: float | None = None
    base_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The content of a report, as in `render_html(Report(job=job, rows=rows))`.

    Args:
        job: The job.
        rows: Rows of its result file, metrics events or plain mappings, in any order.
        events: Its log. Metrics events count as rows; warnings and errors are listed.
        checkpoints: Its checkpoints.
        data: The report of the check of the data.
        registered: Its version in the registry, with the origin, the code, the data and the verdicts of gates.
        cost: The cost. Without it, the cost in the registry or in `data` is shown.
        evaluation: The scores of both models on held-out questions, from `client.evaluate`.
        samples: More questions with the answers of both models.
        notes: Sentences about the report itself, such as what could not be read.
        made_at: When the report was made.
    """

    job: Job
    rows: Sequence[Row] = ()
    events: Sequence[Event] = ()
    checkpoints: Sequence[Checkpoint] = ()
    data: DatasetReport | None = None
    registered: ModelVersion | None = None
    cost: Cost | None = None
    evaluation: Evaluation | None = None
    samples: Sequence[SampleAnswer] = ()
    notes: Sequence[str] = ()
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, outcome: Outcome, **more: Any) -> Report:
        """Make the report of an outcome; `more` are further fields."""
        trained = outcome.trained
        return cls(
            job=trained.job,
            rows=trained.rows,
            events=trained.events,
            checkpoints=trained.checkpoints,
            notes=trained.missing,
            **more,
        )
