"""A check for data that is an asset of your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster import AssetChecksDefinition, AssetIn, multi_asset_check

from dagster_tuneway import _checks, _ops
from dagster_tuneway._data import AssetLike, DataSource


def training_data_check(
    asset: AssetLike,
    *,
    model: str | None = None,
    max_usd: float | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> AssetChecksDefinition:
    """Make a blocking check of an asset of yours that yields training data: a path, or rows.

        defs = Definitions(assets=[tickets], asset_checks=[training_data_check(tickets, model="gpt-4o-mini")])

    Args:
        asset: The asset.
        model: The model to start from: it decides on the tokenizer, the longest example and the price.
        max_usd: A budget, held against the estimated cost: the check `within_budget`. Which service the data is
            for isn't known here, so the check also fails where that service would send no bill.
        data_options: Further arguments of `tuneway.dataset.validate`.
    """
    source = DataSource.of("training_data", asset)
    key = source.asset
    assert key is not None
    options = {"model": model, **(data_options or {})}
    define = multi_asset_check(
        name=f"{key.to_python_identifier()}__training_data_check",
        specs=_checks.data_check_specs(key, max_usd),
        ins={
            source.name: AssetIn(
                key=key, partition_mapping=source.partition_mapping, input_manager_key=source.input_manager_key
            )
        },
        can_subset=True,
    )
    return define(_ops.checking(source, max_usd, options))
