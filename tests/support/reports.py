"""A report with every part filled in, from one piece of text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tuneway.dataset import Bin, CostEstimate, DatasetReport, Problem, TokenCount
from tuneway.models import Checkpoint, Event, Job
from tuneway.registry import (
    Cost,
    DataFile,
    Evaluation,
    GitState,
    ModelRecord,
    ModelVersion,
    Origin,
    Sample,
    Score,
    Verdict,
)
from tuneway.report import Report, SampleAnswer

ROWS = [
    {
        "step": step,
        "train_loss": 2.5 / step**0.4 + 0.2 * (step % 3),
        "train_accuracy": 1 - 0.6 / step**0.3,
        "valid_loss": 2.6 / step**0.35 if step % 10 == 0 else None,
        "valid_mean_token_accuracy": 1 - 0.7 / step**0.3 if step % 10 == 0 else None,
    }
    for step in range(1, 121)
]


def full_report(text: str) -> Report:
    """Every field that holds text holds this text."""
    job = Job.model_validate(
        {
            "id": text, "status": text, "model": text, "fine_tuned_model": text, "created_at": 1_790_000_000,
            "finished_at": 1_790_000_125, "training_file": text, "validation_file": text, "organization_id": text,
            "error": {"code": text, "message": text, "param": text}, "trained_tokens": 12_345, "seed": 7,
            "method": {"type": text, text: {"hyperparameters": {text: text, "n_epochs": 3}}}, "metadata": {text: text},
        }
    )  # fmt: skip
    checkpoints = [
        Checkpoint(
            id=text,
            step_number=step,
            fine_tuned_model_checkpoint=text,
            metrics={"full_valid_loss": 60 / step, "full_valid_mean_token_accuracy": 0.5, text: 1.0},
        )
        for step in (40, 80, 120)
    ]
    return Report(
        job=job,
        rows=ROWS,
        events=[Event(id=text, level="warn", message=text), Event(id=text, level="error", message=text)],
        checkpoints=checkpoints,
        data=data_report(text).model_copy(update={"validation": data_report(text)}),
        registered=_version(text),
        evaluation=_evaluation(text),
        samples=[
            SampleAnswer(prompt=text, base=text, tuned=text, expected=text),
            SampleAnswer(prompt=text, tuned=text),
        ],
        notes=[text],
        made_at=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    )


def data_report(text: str, **fields: Any) -> DatasetReport:
    """A check of 40 rows that found an error at line 3 and a warning."""
    error = Problem(line=3, rule=text, severity="error", where=text, found=text, expected=text, hint=text)
    warning = Problem(line=None, rule=text, severity="warning", where=None, found=text, expected=text)
    bins = [Bin(1, 100, 25), Bin(101, 200, 15)]
    tokens = TokenCount(
        total=4000, exact=False, method=text, min=12, median=95, p95=180, max=199, histogram=bins
    )  # fmt: skip
    known: dict[str, Any] = {
        "path": text, "sha256": text, "size_bytes": 51_200, "format": "chat", "rows": 40, "model": text,
        "tokens": tokens, "n_epochs": 3, "trained_tokens": 12_000, "errors": [error], "warnings": [warning],
        "cost": CostEstimate(usd=0.036, usd_per_million=3, model=text, prices_as_of=text),
        "error_count": 1, "warning_count": 1, "counts": {text: 2},
    }  # fmt: skip
    return DatasetReport(**(known | fields))


def _evaluation(text: str) -> Evaluation:
    sample = Sample(question=text, expected=text, base=text, tuned=text, base_score=0.25, tuned_score=1)
    return Evaluation(
        base=Score(model=text, score=0.25), tuned=Score(model=text, score=0.75), questions=8, better=4, worse=0,
        scored_by=text, sha256=text, samples=[sample],
    )  # fmt: skip


def _version(text: str) -> ModelVersion:
    file = DataFile(id=text, filename=text, sha256=text, rows=40, tokens=4000)
    record = ModelRecord(
        name=text, version=3, model_id=text, job_id=text, checkpoint=text, checkpoint_choice="best", base_model=text,
        training=file, validation=file, method=text, requested={text: text}, resolved={text: text},
        cost=Cost(amount=1.25, currency=text), git=GitState(commit=text, dirty=True), trainer=text,
        origin=Origin(engine=text, pipeline=text, run=text, text=text), created_at=datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip
    verdict = Verdict(gate=text, passed=True, why=text, numbers={text: 0.5})
    return ModelVersion(record=record, aliases=[text], verdicts=[verdict], warnings=[text])
