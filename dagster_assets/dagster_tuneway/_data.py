"""Where data comes from: a path or URL, rows, a frame, a function, or an asset that yields one of these; or a share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from dagster import (
    AssetDep,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterInvariantViolationError,
    SourceAsset,
)

from dagster_tuneway._names import PARTITION, filled
from dagster_tuneway._runs import partition_of
from tuneway.data import is_place, joined, normal
from tuneway.errors import InvalidInput, InvalidSpec

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext, PartitionMapping

Row: TypeAlias = Mapping[str, Any]
AssetLike: TypeAlias = AssetKey | AssetsDefinition | AssetSpec | SourceAsset | AssetDep | AssetIn
Data: TypeAlias = Any
"""A path or URL, in which `{partition_key}` stands for the partition; rows; a frame; or a function of the context that
gives one of these."""

_ASSETS = (AssetKey, AssetsDefinition, AssetSpec, SourceAsset, AssetDep, AssetIn)


@dataclass(frozen=True)
class DataSource:
    """Where one file's worth of data comes from: an asset that yields it, or what the user gave.

    Args:
        name: `training_data` or `validation_data`.
        asset: The asset, if it is one.
        given: What was given, if it isn't.
        partition_mapping: Which of the asset's partitions are read, where it isn't Dagster's own choice.
        input_manager_key: The I/O manager that loads the asset's value, if it isn't the asset's own.
    """

    name: str
    asset: AssetKey | None = None
    given: Any = None
    partition_mapping: PartitionMapping | None = None
    input_manager_key: str | None = None

    @classmethod
    def of(cls, name: str, given: Data | AssetLike) -> DataSource:
        """Tell an asset from other data."""
        if not _is_asset(given):
            return cls(name, given=given)
        if isinstance(given, AssetKey):
            return cls(name, asset=given)
        if isinstance(given, AssetDep):
            return cls(name, asset=given.asset_key, partition_mapping=given.partition_mapping)
        if isinstance(given, AssetIn):
            return cls._of_input(name, given)
        return cls(name, asset=given.key)

    @classmethod
    def _of_input(cls, name: str, given: AssetIn) -> DataSource:
        if given.key is None:
            raise InvalidSpec(f"{name}: this AssetIn has no key", field=name, hint="Give the asset's whole key.")
        more = {"metadata": given.metadata, "key_prefix": given.key_prefix}
        if wrong := next((field for field, value in more.items() if value), None):
            raise InvalidSpec(
                f"{name}: {wrong} of an AssetIn can't be used here",
                field=name,
                hint="key, partition_mapping and input_manager_key can.",
            )
        return cls(
            name, asset=given.key, partition_mapping=given.partition_mapping, input_manager_key=given.input_manager_key
        )

    @property
    def is_file(self) -> bool:
        """Whether it is a path or URL, whose content may change."""
        if isinstance(self.given, int | float) or self.given is None:
            return False
        return isinstance(self.given, str | PathLike) or is_place(self.given)

    @property
    def has_partition(self) -> bool:
        """Whether each partition has a path or URL of its own."""
        return PARTITION in str(self.given)

    def file(self, partition: str | None) -> Any:
        """The path or URL, for a partition."""
        given = self.given
        plain = isinstance(given, str) or type(given).__module__.startswith("pathlib")
        return filled(fspath(given), partition) if plain else given

    @property
    def dep(self) -> AssetDep | None:
        """The asset as a dependency, if it is one."""
        return AssetDep(self.asset, partition_mapping=self.partition_mapping) if self.asset else None

    @property
    def input(self) -> AssetIn:
        """The asset as an input of a step; which partitions are read is the dependency's."""
        return AssetIn(key=self.asset, input_manager_key=self.input_manager_key)

    def data(self, context: AssetExecutionContext | AssetCheckExecutionContext, loaded: Mapping[str, Any]) -> Any:
        """The data, as the core takes it."""
        if self.asset is not None and self.name not in loaded:
            raise InvalidSpec(
                f"{self.name}: {self.asset.to_user_string()} is an asset, whose value isn't loaded here",
                field=self.name,
                hint="Take it as an argument of your asset, and give its value.",
            )
        given = loaded[self.name] if self.asset else self.given
        if self.asset and isinstance(given, dict):
            given = self._of_partitions(context, given)
        elif callable(given):
            given = given(context)
        given = _place(given)
        if isinstance(given, int | float) and self.name == "validation_data":  # a share; the core checks it
            return given
        if isinstance(given, str) or type(given).__module__.startswith("pathlib"):
            return filled(fspath(given), partition_of(context))
        try:
            return normal(given)
        except ValueError as error:
            whose = f"the asset {self._key(context).to_user_string()}" if self.asset else self.name
            raise InvalidInput(
                f"{whose} gave data that can't be used: {error}",
                hint="Give a path or URL, rows (an iterable of dictionaries), or a frame.",
            ) from None

    def _key(self, context: AssetExecutionContext | AssetCheckExecutionContext) -> AssetKey:
        """The asset's key as it is called now: it may have been renamed."""
        key: AssetKey = context.op_execution_context.asset_key_for_input(self.name)
        return key

    def _of_partitions(self, context: AssetExecutionContext | AssetCheckExecutionContext, given: Any) -> Any:
        """The data of all partitions in their order, where an I/O manager gives each partition's value by its key."""
        step = context.op_execution_context
        try:
            partitions = step.asset_partitions_def_for_input(self.name)
        except DagsterInvariantViolationError:  # the asset has no partitions
            return given
        keys = {*step.asset_partition_keys_for_input(self.name)}
        if not given or not given.keys() <= keys:
            return given
        # the keys of the input come in no order where they are of several dimensions
        order = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        parts = [given[key] for key in order if key in given]
        return joined([_place(part) for part in parts], field=self.name)


def _place(given: Any) -> Any:
    """The path in the output of a step, or the data as it is."""
    if isinstance(given, Mapping) and isinstance(given.get("path"), str | PathLike):
        return given["path"]
    return given


def _is_asset(given: Any) -> TypeGuard[AssetLike]:
    return isinstance(given, _ASSETS)
