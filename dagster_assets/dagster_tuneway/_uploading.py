"""The first step: check the data, report what was found, and upload it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    DataVersion,
    MaterializeResult,
)

from dagster_tuneway import _checks
from dagster_tuneway._data import DataSource
from dagster_tuneway._log import Teller, output_metadata, told_to_dagster
from dagster_tuneway._metadata import uploaded_metadata
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway._runs import partition_of, requester_of, reuse_in
from tuneway.errors import OverBudget, TunewayError
from tuneway.progress import DataChecked, News
from tuneway.steps import file_summary

if TYPE_CHECKING:
    from tuneway import DatasetReport
    from tuneway.client import UploadedFile


def upload(
    context: AssetExecutionContext, recipe: AssetRecipe, loaded: Mapping[str, Any]
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Check and upload the data, reading it once. The results of the check are reported even if the upload fails."""
    tuneway = recipe.resource(context)
    with told_to_dagster(tuneway):
        recipe.questions(partition_of(context))
        given = recipe.recipe(context, loaded)
        heard = _Heard(context.log)
        failure: TunewayError | None = None
        file: UploadedFile | None = None
        what = (given, requester_of(context, recipe.keys.training_file, keep_origin=recipe.cancel_on_termination))
        how: dict[str, Any] = {
            "reuse": reuse_in(context, recipe.reuse),
            "on_event": heard,
            **recipe.then(partition_of(context), registry=tuneway.registry),
        }
        uploads = recipe.keys.training_file in context.selected_asset_keys
        try:
            if uploads:
                file = tuneway.client.send(*what, **how).file
            else:  # a person asks for the checks alone
                tuneway.client.check(*what, **how)
        except TunewayError as error:
            failure = error
        yield from _selected(context, _results(heard.report, given.max_usd, failure))
        if failure is not None:
            raise failure
    if not uploads:
        return
    assert file is not None
    assert heard.report is not None
    output = file_summary(file)
    yield MaterializeResult(
        asset_key=recipe.keys.training_file,
        metadata=uploaded_metadata(heard.report, output["file_id"]) | output_metadata(output),
        data_version=DataVersion(_version(heard.report)),
        value=output,
    )


def check(
    context: AssetCheckExecutionContext,
    source: DataSource,
    loaded: Mapping[str, Any],
    max_usd: float | None,
    options: Mapping[str, Any],
) -> Iterator[AssetCheckResult]:
    """Check data that an asset has yielded, and do no more. Which service it is for isn't known here."""
    from tuneway.dataset import validate

    with told_to_dagster(None):
        report = validate(source.data(context, loaded), **options)
    results = [_checks.valid_data_result(report)]
    if max_usd is not None:
        results.append(_checks.budget_result(report, max_usd, refused=report.budget_problem(max_usd) is not None))
    yield from _selected(context, results)


def _results(
    report: DatasetReport | None, max_usd: float | None, failure: TunewayError | None
) -> Iterator[AssetCheckResult]:
    """What the checks found, as far as the data was read."""
    if report is None:
        return
    yield _checks.valid_data_result(report)
    if report.ok and max_usd is not None:
        yield _checks.budget_result(report, max_usd, refused=isinstance(failure, OverBudget))


def _selected(
    context: AssetExecutionContext | AssetCheckExecutionContext, results: Iterable[AssetCheckResult]
) -> Iterator[AssetCheckResult]:
    """The results of the checks that this run is about."""
    wanted = {key.name for key in context.op_execution_context.selected_asset_check_keys}
    return (result for result in results if result.check_name in wanted)


class _Heard(Teller):
    """Writes news into the run's log, and keeps the report about the data."""

    report: DatasetReport | None = None

    def __call__(self, news: News) -> None:
        if isinstance(news, DataChecked):
            self.report = news.report
        super().__call__(news)


def _version(report: DatasetReport) -> str:
    """The content: the same data is the same version, wherever it lies and whoever made it."""
    if report.validation is None:
        return report.sha256
    return f"{report.sha256[:32]}.{report.validation.sha256[:32]}"
