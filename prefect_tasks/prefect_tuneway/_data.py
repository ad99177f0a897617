"""The steps before a job: check the data, upload it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_tuneway import _runs
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve

if TYPE_CHECKING:
    from tuneway import AsyncClient, DatasetReport, Recipe
    from tuneway.models import File
    from tuneway.progress import Listener, News
    from tuneway.recipe import Data
    from tuneway.registry import RegistrationFields
    from tuneway.requester import Reuse


def log_news(batch: list[News]) -> None:
    """Write news into the run's log."""
    log = _runs.logger()
    for news in batch:
        log.info("%s", news)


def validate(
    training_data: Data | None,
    *,
    validation_data: Data | None,
    model: str | None,
    data_options: Mapping[str, Any] | None,
) -> Step[dict[str, Any]]:
    """The step `validate_training_data`."""
    from tuneway.dataset import validate
    from tuneway.progress import DataChecked
    from tuneway.steps import data_summary

    options = {"validation_data": validation_data, "model": model, **(data_options or {})}
    report: DatasetReport = yield Here(lambda: validate(training_data, **options))
    log_news([DataChecked(report)])
    _log_warnings(report)
    report.raise_for_errors()
    return data_summary(report)


def check(
    recipe: Recipe, *, credentials: Credentials, key: str | None, reuse: Reuse, then: RegistrationFields
) -> Step[DatasetReport]:
    """Check a recipe whole, with how its model is to be registered; nothing is sent."""
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    registration: RegistrationFields = {**then, "registry": then.get("registry") or access.registry}
    report: DatasetReport = yield AtService(
        access.client_settings(),
        lambda client, tell: client.check(recipe, run.requester(key), reuse=reuse, on_event=tell, **registration),
        log_news,
    )
    _log_warnings(report)
    return report


def upload(
    training_data: Data | None,
    *,
    validation_data: Data | None,
    credentials: Credentials,
    report: DatasetReport | None,
    validate: bool,
    purpose: str,
    expires_after: int | None,
    data_options: Mapping[str, Any] | None,
) -> Step[dict[str, Any]]:
    """The step `upload_training_file`."""
    from tuneway.client import FilePair
    from tuneway.steps import file_summary

    async def send(client: AsyncClient, tell: Listener) -> tuple[File | FilePair, DatasetReport | None]:
        found = report
        if validate and found is None:
            options = {"validation_data": validation_data, **(data_options or {})}
            found = await client.validate(training_data, on_event=tell, **options)
            found.raise_for_errors()
        sending: Any = client.upload  # its overloads don't fit arguments that may be None
        files = await sending(
            training_data, validation_data=validation_data, report=found, validate=validate, purpose=purpose,
            expires_after=expires_after, on_event=tell,
        )  # fmt: skip
        return files, found

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    files, found = yield AtService(access.client_settings(), send, log_news)
    if found is not None and report is None:
        _log_warnings(found)
    if isinstance(files, FilePair):
        return file_summary(files.training, found, validation=files.validation)
    return file_summary(files, found)


def _log_warnings(report: DatasetReport) -> None:
    for one in filter(None, (report, report.validation)):
        for problem in one.warnings:
            _runs.logger().warning("%s: %s", one.path, problem)
