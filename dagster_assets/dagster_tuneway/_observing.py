"""The step that looks at a file: it tells Dagster the version of the content."""

from __future__ import annotations

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetObservation, DataVersion, MetadataValue, ObserveResult

from dagster_tuneway._data import DataSource
from dagster_tuneway._log import told_to_dagster
from tuneway.data import name_of, version_of

DATA_VERSION = "dagster/data_version"


def observe(context: AssetExecutionContext, source: DataSource) -> Iterator[ObserveResult]:
    """Look at a file, or at the file of each partition; a file that isn't there yet is left out."""
    partitioned = context.has_partition_key or context.has_partition_key_range
    partitions: list[str | None] = [*context.partition_keys] if partitioned else [None]
    for partition in partitions:
        place = source.file(partition)
        with told_to_dagster(None):
            version = version_of(place, field=source.name)
        if version is None:
            context.log.warning("%s isn't there yet", name_of(place))
            continue
        metadata = {"path": MetadataValue.path(name_of(place))}
        if len(partitions) == 1:
            yield ObserveResult(metadata=metadata, data_version=DataVersion(version))
        else:  # a result would be one for all partitions
            tags = {DATA_VERSION: version}
            context.log_event(AssetObservation(context.asset_key, partition=partition, metadata=metadata, tags=tags))
