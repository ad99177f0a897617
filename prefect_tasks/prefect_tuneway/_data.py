"""The steps before a job: check the data, have it on the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_tuneway import _runs
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import FineTuningCredentials, resolve

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.progress import News


def log_news(batch: list[News]) -> None:
    """Write news into the run's log."""
    log = _runs.logger()
    for news in batch:
        log.info("%s", news)


def validate_training_data(
    path: str,
    *,
    model: str | None = None,
    validation_file: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Step[dict[str, Any]]:
    """Check training data on this side, before anything is paid for.

    No service is asked. The output says what is in it: rows, tokens, what the training would cost. Errors
    fail the task at once, and name their lines.

    Args:
        path: The file.
        model: The model to train, for its limits and prices.
        validation_file: The file to measure on, checked beside it.
        options: Further options of `tuneway.dataset.validate`.
    """
    from tuneway.dataset import validate
    from tuneway.steps import data_summary

    report: DatasetReport = yield Here(
        lambda: validate(path, model=model, validation_file=validation_file, **(options or {}))
    )
    log = _runs.logger()
    for problem in report.warnings:
        log.warning("%s: %s", path, problem)
    report.raise_for_errors()
    log.info("%s: %s rows, %s tokens, no errors", path, report.rows, report.tokens.total)
    return data_summary(report, path)


def upload_training_file(
    path: str,
    *,
    credentials: FineTuningCredentials | str | None = None,
    validate: bool = True,
    purpose: str = "fine-tune",
    expires_after: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Step[dict[str, Any]]:
    """Have a file on the service: checked, hashed, streamed, and never sent twice. The output has its id.

    Args:
        path: The file.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        validate: Whether to check it first; errors fail the task before anything is sent.
        purpose: What the service is told that it is for.
        expires_after: Seconds after which the service deletes it.
        options: Further options of `tuneway.dataset.validate`.
    """
    from tuneway.steps import file_summary

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    file = yield AtService(
        access.client_settings(),
        lambda client, tell: client.upload(
            path,
            validate=validate,
            purpose=purpose,
            expires_after=expires_after,
            on_event=tell,
            **(options or {}),
        ),
        log_news,
    )
    return file_summary(file)
