"""The first step: check the data, tell what was found, and upload it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
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
from tuneway.errors import InvalidDataset, OverBudget
from tuneway.steps import file_summary

if TYPE_CHECKING:
    from tuneway import DatasetReport, Recipe


def upload(
    context: AssetExecutionContext, recipe: AssetRecipe, loaded: Mapping[str, Any]
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Do the step."""
    tuneway = recipe.resource(context)
    with tempfile.TemporaryDirectory(prefix="tuneway-") as folder, told_to_dagster(tuneway):
        recipe.questions(partition_of(context))
        given = recipe.recipe(context, loaded, Path(folder))
        report, refusal = _checked(context, recipe, given)
        yield _checks.valid_data_result(report)
        if report.ok and given.max_usd is not None:
            yield _checks.budget_result(report, given.max_usd, refused=refusal is not None)
        if refusal is not None:
            raise refusal
        uploaded = tuneway.client.upload(
            given.training_data,
            validation_data=given.validation_data,
            report=report,
            on_event=Teller(context.log),
        )
        output = file_summary(uploaded)
    yield MaterializeResult(
        asset_key=recipe.keys.training_file,
        metadata=uploaded_metadata(report, output["file_id"], folder) | output_metadata(output),
        data_version=DataVersion(_version(report)),
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

    with tempfile.TemporaryDirectory(prefix="tuneway-") as folder, told_to_dagster(None):
        report = validate(source.file(context, loaded, Path(folder)), **options)
    yield _checks.valid_data_result(report)
    if max_usd is not None:
        yield _checks.budget_result(report, max_usd, refused=report.budget_problem(max_usd) is not None)


def _checked(
    context: AssetExecutionContext, recipe: AssetRecipe, given: Recipe
) -> tuple[DatasetReport, InvalidDataset | OverBudget | None]:
    """What the core found in the data, and why it refuses it, if it does."""
    tuneway = recipe.resource(context)
    try:
        report = tuneway.client.check(
            given,
            requester_of(context, recipe.keys.job, keep_origin=recipe.cancel_on_termination),
            reuse=reuse_in(context, recipe.reuse),
            on_event=Teller(context.log),
            **recipe.then(partition_of(context), registry=tuneway.registry),
        )
    except (InvalidDataset, OverBudget) as refusal:
        return refusal.report, refusal
    return report, None


def _version(report: DatasetReport) -> str:
    """The content: the same data is the same version, wherever it lies and whoever made it."""
    if report.validation is None:
        return report.sha256
    return f"{report.sha256[:32]}.{report.validation.sha256[:32]}"
