"""The first step: check the data, tell what was found, and have it on the service."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from dagster_tuneway._metadata import data_metadata, known, problems
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway.resource import FineTuningResource
from tuneway.steps import data_summary

if TYPE_CHECKING:
    from tuneway import DatasetReport


def upload(
    context: AssetExecutionContext, recipe: AssetRecipe, loaded: Mapping[str, Any]
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Do the step."""
    tuneway = recipe.resource(context)
    with tempfile.TemporaryDirectory(prefix="tuneway-") as folder, told_to_dagster(tuneway):
        data = CheckedData.read(context, recipe, tuneway, loaded, Path(folder))
        results = _checks.data_check_results(data.report, recipe.max_usd)
        yield from results
        _checks.refuse(results)
        output = data.send(context, tuneway)
    yield MaterializeResult(
        asset_key=recipe.keys.training_file,
        metadata=data.metadata(output) | output_metadata(output),
        data_version=DataVersion(data.version),
    )


def check(
    context: AssetCheckExecutionContext,
    source: DataSource,
    loaded: Mapping[str, Any],
    max_usd: float | None,
    options: Mapping[str, Any],
) -> Iterator[AssetCheckResult]:
    """Check data that an asset has yielded, and do no more."""
    from tuneway.dataset import validate

    with tempfile.TemporaryDirectory(prefix="tuneway-") as folder, told_to_dagster(None):
        report = validate(source.file(context, loaded, Path(folder)), **options)
    yield from _checks.data_check_results(report, max_usd)


@dataclass(frozen=True)
class CheckedData:
    """Training data as files, and what was found in them.

    Args:
        training: The file to train on.
        validation: The file to measure on.
        report: What the check has found.
        lasting: Whether the files are the user's, and will be there when somebody looks for them.
    """

    training: Path
    validation: Path | None
    report: DatasetReport
    lasting: bool

    @classmethod
    def read(
        cls,
        context: AssetExecutionContext,
        recipe: AssetRecipe,
        tuneway: FineTuningResource,
        loaded: Mapping[str, Any],
        folder: Path,
    ) -> CheckedData:
        """Find the data, write it into the folder if it is rows, and check it."""
        training = recipe.training.file(context, loaded, folder)
        validation = recipe.validation.file(context, loaded, folder) if recipe.validation else None
        report = tuneway.client.validate(training, **recipe.data_settings() | {"validation_file": validation})
        for problem in report.warnings:
            context.log.warning("%s: %s", training.name, problem)
        return cls(training, validation, report, lasting=training.parent != folder)

    @property
    def version(self) -> str:
        """The content: the same data is the same version, wherever it lies and whoever made it."""
        report = self.report
        if report.validation is None:
            return report.sha256
        return f"{report.sha256[:32]}.{report.validation.sha256[:32]}"

    def send(self, context: AssetExecutionContext, tuneway: FineTuningResource) -> dict[str, Any]:
        """Have it on the service; gives the step's output."""
        teller, client = Teller(context.log), tuneway.client
        file = client.upload(self.training, validate=False, on_event=teller)
        output = data_summary(self.report, str(self.training)) | {"file_id": file.id, "filename": file.filename}
        if not self.lasting:
            del output["path"]
        if self.validation is not None and self.report.validation is not None:
            held_out = client.upload(self.validation, validate=False, on_event=teller)
            output |= {"validation_file_id": held_out.id, "validation_sha256": self.report.validation.sha256}
        return output

    def metadata(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """What Dagster shows of it."""
        facts = data_metadata(self.report)
        if not self.lasting:
            del facts["path"]
        return known({"file": output["file_id"]} | facts) | problems(self.report)
