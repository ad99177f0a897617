"""Lineage for OpenLineage: the data by its hash, the model, and the job between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuneway.registry import DataFile, ModelRecord


def lineage_of(record: ModelRecord) -> Any:
    """An `OperatorLineage` from data to model: the same data has the same name wherever it is used."""
    from airflow.providers.common.compat.openlineage.facet import Dataset, ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import (  # type: ignore[import-not-found,unused-ignore]
        OperatorLineage,
    )

    where = record.service_url or "tuneway"
    files = [file for file in (record.training, record.validation) if file is not None]
    return OperatorLineage(
        inputs=[_dataset(file, where) for file in files],
        outputs=[Dataset(namespace=where, name=record.model_id, facets=_facets(record))],
        run_facets={"externalQuery": ExternalQueryRunFacet(externalQueryId=record.job_id, source=where)},
    )


def lineage_at_start(places: Iterable[Any]) -> Any:
    """An `OperatorLineage` of the data that a task is about to read; rows and frames have no place.

    Args:
        places: What the task was given as data, each a path or URL, a share, rows, or nothing.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(inputs=[found for place in places if (found := _place(place)) is not None])


def _place(data: Any) -> Any:
    """The dataset at a path or URL, by OpenLineage's names for stores: the bucket, and the path in it."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    from tuneway.data import is_place, name_of

    if not is_place(data) or data is None or isinstance(data, int | float):
        return None
    scheme, mark, rest = name_of(data).partition("://")
    if not mark or scheme == "file":
        return Dataset(namespace="file", name=rest or scheme)
    store, _, path = rest.partition("/")
    return Dataset(namespace=f"{scheme}://{store}", name=path or "/")


def _dataset(file: DataFile, where: str) -> Any:
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace="sha256", name=file.sha256) if file.sha256 else Dataset(namespace=where, name=file.id)


def _facets(record: ModelRecord) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import DocumentationDatasetFacet

    text = f"{record.ref}: {record.base_model or 'a model'} tuned by {record.method or 'the default method'}"
    return {"documentation": DocumentationDatasetFacet(description=text)}
