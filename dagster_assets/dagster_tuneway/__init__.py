"""Tuneway for Dagster.

    assets = fine_tuned_model_assets("support_router", training_file="train.jsonl", model="gpt-4o-mini")
    defs = Definitions(assets=assets, resources={"tuneway": FineTuningResource(api_key=EnvVar("OPENAI_API_KEY"))})

Names are imported when they are first used, so that importing this costs little more than Dagster does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_tuneway._log import output_of
    from dagster_tuneway.checks import training_data_check
    from dagster_tuneway.component import FineTunedModelComponent
    from dagster_tuneway.factory import FineTunedModelAssets, fine_tuned_model_assets
    from dagster_tuneway.function import fine_tune
    from dagster_tuneway.resource import FineTuningResource
    from dagster_tuneway.sensor import fine_tuning_sensor

_HOME_OF = {
    "FineTunedModelAssets": "factory",
    "FineTunedModelComponent": "component",
    "FineTuningResource": "resource",
    "fine_tune": "function",
    "fine_tuned_model_assets": "factory",
    "fine_tuning_sensor": "sensor",
    "output_of": "_log",
    "training_data_check": "checks",
}

__all__ = [
    "FineTunedModelAssets",
    "FineTunedModelComponent",
    "FineTuningResource",
    "fine_tune",
    "fine_tuned_model_assets",
    "fine_tuning_sensor",
    "output_of",
    "training_data_check",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
