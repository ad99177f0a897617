"""The steps before a job: check the data, upload it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from prefect_tuneway import _runs
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve

if TYPE_CHECKING:
    from tuneway import DatasetReport, Recipe
    from tuneway.choices import Order, Reuse
    from tuneway.client import SentData, UploadedFile
    from tuneway.progress import News
    from tuneway.recipe import Data
    from tuneway.registry import RegistrationFields


def log_news(batch: list[News]) -> None:
    """Write news into the run's log. Of the answers of an evaluation, the last of a batch will do."""
    from tuneway.progress import Answered

    for news, after in zip_longest(batch, batch[1:]):
        if not (isinstance(news, Answered) and isinstance(after, Answered)):
            log_one(news)


def log_one(news: News) -> None:
    """Write one piece of news into the run's log; of checked data also the warnings."""
    log = _runs.logger()
    log.info("%s", news)
    for warning in getattr(news, "warnings", ()):
        log.warning("%s", warning)


def validate(
    training_data: Data | None,
    *,
    validation_data: Data | float | None,
    row: Mapping[str, str] | None,
    order: Order,
    model: str | None,
    data_options: Mapping[str, Any] | None,
) -> Step[dict[str, Any]]:
    """The step `validate_training_data`."""
    from tuneway.dataset import validate
    from tuneway.progress import DataChecked
    from tuneway.steps import data_summary

    options = {
        "validation_data": validation_data, "row": row, "order": order, "model": model, **(data_options or {})
    }  # fmt: skip
    report: DatasetReport = yield Here(lambda: validate(training_data, **options))
    log_news([DataChecked(report)])
    report.raise_for_errors()
    return data_summary(report)


def send(
    recipe: Recipe, *, credentials: Credentials, key: str | None, reuse: Reuse, then: RegistrationFields
) -> Step[dict[str, Any]]:
    """Check a recipe whole, with how its model is to be registered, and upload its data, which is read once."""
    from tuneway.steps import file_summary

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    registration: RegistrationFields = {**then, "registry": then.get("registry") or access.registry}
    sent: SentData = yield AtService(
        access.client_settings(),
        lambda client, tell: client.send(recipe, run.requester(key), reuse=reuse, on_event=tell, **registration),
        log_news,
    )
    return file_summary(sent.file)


def upload(
    training_data: Data | None,
    *,
    validation_data: Data | float | None,
    row: Mapping[str, str] | None,
    order: Order,
    credentials: Credentials,
    report: DatasetReport | None,
    validate: bool,
    purpose: str,
    expires_after: int | None,
    data_options: Mapping[str, Any] | None,
) -> Step[dict[str, Any]]:
    """The step `upload_training_file`."""
    from tuneway.steps import file_summary

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    uploaded: UploadedFile = yield AtService(
        access.client_settings(),
        lambda client, tell: client.upload(
            training_data, validation_data=validation_data, row=row, order=order, report=report, validate=validate,
            purpose=purpose, expires_after=expires_after, on_event=tell, **(data_options or {}),
        ),
        log_news,
    )  # fmt: skip
    return file_summary(uploaded)
