"""The values of the assets: what each step hands on, as an input of any asset after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from warnings import catch_warnings, simplefilter

from dagster import (
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    InputContext,
    IOManager,
    IOManagerDefinition,
    OutputContext,
    multi_asset,
)

from dagster_tuneway._log import required_output

IO_MANAGER = "tuneway_values"
"""The name of the I/O manager, which the assets bring along."""


class StepValues(IOManager):
    """Reads the value from Dagster's event log, where each step keeps it: no storage has to be set up for it."""

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Do nothing: the value is in the metadata of the materialization."""

    def load_input(self, context: InputContext) -> Any:
        """The value; for several partitions, one for each by its key."""
        instance, asset = context.instance, context.asset_key
        if not context.has_asset_partitions:
            return required_output(instance, asset, None)
        values = {key: required_output(instance, asset, key) for key in context.asset_partition_keys}
        return values if len(values) != 1 else next(iter(values.values()))


_STEP_VALUES = {IO_MANAGER: IOManagerDefinition.hardcoded_io_manager(StepValues())}


def step_with_values(**options: Any) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """`multi_asset` with the I/O manager for the values of its assets."""
    with catch_warnings():
        simplefilter("ignore", BetaWarning)  # of resource_defs
        return multi_asset(resource_defs=_STEP_VALUES, **options)


def reported_with_values(spec: AssetSpec) -> AssetsDefinition:
    """An asset that no step makes, since a sensor reports it, with the same I/O manager."""
    with catch_warnings():
        simplefilter("ignore", BetaWarning)
        return AssetsDefinition(specs=[spec], resource_defs=_STEP_VALUES)
