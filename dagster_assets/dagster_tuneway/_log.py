"""What Dagster keeps of a step: news in the run's log, and the step's output in the event log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, AssetRecordsFilter, Failure, MetadataValue

from tuneway.errors import InvalidDataset, JobError, TunewayError
from tuneway.progress import Checking, DataChecked, News, Summarised

if TYPE_CHECKING:
    from dagster import DagsterInstance, EventLogRecord

    from dagster_tuneway.resource import FineTuningResource

OUTPUT = "tuneway"
"""The name of the metadata entry that holds a step's output, for the steps after it."""


class Teller:
    """Writes news into the run's log: of a training few steps, since each line is a row in a database."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._summarised = Summarised(self._write)

    def __call__(self, news: News) -> None:
        """Write a piece of news; of a check of data only its end, with the warnings."""
        if not isinstance(news, Checking):
            self._summarised(news)

    def _write(self, news: News) -> None:
        self._log.info(str(news))
        if isinstance(news, DataChecked):
            for report in news.report.reports:
                for problem in report.warnings:
                    self._log.warning("%s: %s", Path(report.path).name, problem)


def output_metadata(output: dict[str, Any]) -> dict[str, Any]:
    """A step's output as metadata."""
    return {OUTPUT: MetadataValue.json(json.loads(json.dumps(output)))}


def output_of(instance: DagsterInstance, asset: AssetKey, partition: str | None = None) -> dict[str, Any] | None:
    """The output that an asset's latest materialization hands on; None if there is none.

    It is read from Dagster's event log, which every process and machine of an installation shares.
    """
    where = AssetRecordsFilter(asset_key=asset, asset_partitions=None if partition is None else [partition])
    records = instance.fetch_materializations(where, limit=1).records
    return output_in(records[0]) if records else None


def output_in(record: EventLogRecord) -> dict[str, Any] | None:
    """The output that a materialization hands on."""
    materialization = record.asset_materialization
    kept = materialization.metadata.get(OUTPUT) if materialization else None
    value = kept.value if kept is not None else None
    return value if isinstance(value, dict) else None


def required_output(instance: DagsterInstance, asset: AssetKey, partition: str | None) -> dict[str, Any]:
    """The output of an asset that has to be materialized before.

    Raises:
        Failure: It isn't.
    """
    output = output_of(instance, asset, partition)
    if output is None:
        of = f" for {partition}" if partition else ""
        raise Failure(f"{asset.to_user_string()} isn't there yet{of}: materialize it first.", allow_retries=False)
    return output


@contextmanager
def told_to_dagster(tuneway: FineTuningResource | None) -> Iterator[None]:
    """Fail the step with the error's own text. Dagster's retry policy leaves alone what no retry cures."""
    try:
        yield
    except TunewayError as error:
        raise Failure(str(error), metadata=_facts(error, tuneway), allow_retries=error.retryable) from error


def _facts(error: TunewayError, tuneway: FineTuningResource | None) -> dict[str, Any]:
    from dagster_tuneway._metadata import job_link, problems

    facts: dict[str, Any] = {"error": type(error).__name__}
    facts |= {name: value for name in ("code", "request_id") if (value := getattr(error, name, None))}
    if isinstance(error, InvalidDataset):
        facts |= problems(error.report)
    if isinstance(error, JobError) and error.job_id and tuneway is not None:
        facts["job"] = job_link(error.job_id, tuneway.client.base_url)
    return facts
