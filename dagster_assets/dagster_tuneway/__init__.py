"""Tuneway for Dagster.

    assets = fine_tuned_model_assets("support_router", training_data="train.jsonl", model="gpt-4o-mini")
    defs = Definitions(assets=assets, resources={"tuneway": FineTuningResource(api_key=EnvVar("OPENAI_API_KEY"))})

Names are imported when they are first used, so importing this package costs little more than Dagster does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand

if TYPE_CHECKING:
    from dagster_tuneway._log import output_of
    from dagster_tuneway.checks import training_data_check
    from dagster_tuneway.component import FineTunedModelComponent
    from dagster_tuneway.factory import FineTunedModelAssets, fine_tuned_model_assets
    from dagster_tuneway.fields import AssetFields
    from dagster_tuneway.function import fine_tune
    from dagster_tuneway.resource import FineTuningResource
    from dagster_tuneway.sensor import fine_tuning_sensor

_HOMES = {
    "AssetFields": "dagster_tuneway.fields",
    "FineTunedModelAssets": "dagster_tuneway.factory",
    "FineTunedModelComponent": "dagster_tuneway.component",
    "FineTuningResource": "dagster_tuneway.resource",
    "fine_tune": "dagster_tuneway.function",
    "fine_tuned_model_assets": "dagster_tuneway.factory",
    "fine_tuning_sensor": "dagster_tuneway.sensor",
    "output_of": "dagster_tuneway._log",
    "training_data_check": "dagster_tuneway.checks",
}

__all__ = [
    "AssetFields",
    "FineTunedModelAssets",
    "FineTunedModelComponent",
    "FineTuningResource",
    "fine_tune",
    "fine_tuned_model_assets",
    "fine_tuning_sensor",
    "output_of",
    "training_data_check",
]

__getattr__: Finder = on_demand(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
