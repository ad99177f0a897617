"""Models as Prefect assets, with the data that they were trained on upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.assets import Asset, AssetProperties
from prefect.context import AssetContext

from tuneway._escape import url_segment

if TYPE_CHECKING:
    from tuneway.registry import DataFile, ModelRecord


def model_asset(name: str) -> Asset:
    """The asset of a registered model, over all its versions."""
    return Asset(key=f"tuneway://models/{url_segment(name)}", properties=AssetProperties(name=name))


def data_asset(file: DataFile) -> Asset:
    """The asset of a data file: the same wherever the same bytes were used."""
    return Asset(
        key=f"tuneway://data/{file.sha256 or url_segment(file.id)}",
        properties=AssetProperties(name=file.filename or file.id),
    )


def tell_asset(record: ModelRecord, told: dict[str, Any]) -> None:
    """Report the model as an asset that the running task materialises; Prefect sends it when the task succeeds.

    `@materialize` has to know its assets when a module is imported, and a model's name is known only here.
    """
    context = AssetContext.get()
    if context is None:
        return
    asset = model_asset(record.name)
    context.downstream_assets.add(asset)
    context.direct_asset_dependencies.update(data_asset(file) for file in (record.training, record.validation) if file)
    context.add_asset_metadata(asset.key, told)
    context.update_tracked_assets()
