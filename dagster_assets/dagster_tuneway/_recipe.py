"""What `fine_tuned_model_assets` was told, checked when the definitions are loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from dagster import (
    AssetKey,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    PartitionsDefinition,
    TimeWindowPartitionsDefinition,
)

from dagster_tuneway._checks import model_check_names
from dagster_tuneway._data import DataSource
from dagster_tuneway._names import filled, with_partition
from dagster_tuneway._runs import Reuse, check_word

if TYPE_CHECKING:
    from dagster_tuneway.resource import FineTuningResource
    from tuneway import JobSpec
    from tuneway.registry import GateLike

Waiting = Literal["step", "sensor"]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The four assets of a group."""

    training_file: AssetKey
    job: AssetKey
    model: AssetKey
    registered: AssetKey

    @classmethod
    def of(cls, prefix: Sequence[str]) -> Keys:
        """Name them below a prefix."""
        return cls(
            training_file=AssetKey([*prefix, "training_file"]),
            job=AssetKey([*prefix, "job"]),
            model=AssetKey([*prefix, "fine_tuned_model"]),
            registered=AssetKey([*prefix, "registered_model"]),
        )


@dataclass(frozen=True, kw_only=True)
class AssetRecipe:
    """One group of assets: from where, what to train, how to wait, what to check, where to register."""

    name: str
    keys: Keys
    training: DataSource
    validation: DataSource | None
    settings: Mapping[str, Any]
    reuse: Reuse = "content"
    wait: Waiting = "step"
    timeout: float | None = None
    cancel_on_termination: bool = False
    max_usd: float | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    gates: Sequence[GateLike] = ()
    held_out: Any = None
    score: Any = "exact"
    alias: str | None = None
    checkpoint: Literal["last", "best"] = "last"
    register_as: str | None = None
    partitions_def: PartitionsDefinition[str] | None = None
    resource_key: str = "tuneway"
    asks_for_registering: bool = True

    def __post_init__(self) -> None:
        from tuneway.flows import check_room
        from tuneway.registry.records import check_alias, check_name

        check_name(self.model_name(None))
        _ = self.check_names
        check_word("reuse", self.reuse, get_args(Reuse))
        check_word("wait", self.wait, get_args(Waiting))
        if self.alias is not None:
            check_alias(self.alias)
        spec = self.spec("file-", "file-" if self.validation else None, None)
        check_room(spec.metadata, keep_origin=self.cancel_on_termination)

    def resource(self, context: Any) -> FineTuningResource:
        """The resource, in a step, a check or a sensor."""
        resource: FineTuningResource = getattr(context.resources, self.resource_key)
        return resource

    def data_settings(self) -> dict[str, Any]:
        """What the check of the data has to know of the training."""
        method = self.settings.get("method") or {}
        inner = method.get(str(method.get("type"))) or method
        epochs = (inner.get("hyperparameters") or inner).get("n_epochs")
        told = {"model": self.base, "grader": inner.get("grader"), "n_epochs": epochs}
        return told | dict(self.data_options)

    @property
    def check_names(self) -> list[str]:
        """What the checks of the registered model are called."""
        return model_check_names(self.gates, held_out=self.held_out is not None)

    @property
    def base(self) -> str:
        """The model to start from."""
        return str(self.settings["model"])

    @cached_property
    def code_version(self) -> str:
        """What is trained on any data: other settings are another version of the code."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def spec(self, training_file: str, validation_file: str | None, partition: str | None) -> JobSpec:
        """What to train; a partition's model has the partition in its name, and so is a model of its own."""
        from tuneway import JobSpec

        files = {"training_file": training_file, "validation_file": validation_file}
        suffix = with_partition(str(self.settings.get("suffix") or self.name), partition)
        return JobSpec(**dict(self.settings) | files | {"suffix": suffix})

    def model_name(self, partition: str | None) -> str:
        """What the model is called in the registry.

        Of a customer's partitions each is a model of its own; models of one day after the other are versions
        of one model, so that each is compared with the one before.
        """
        if self.register_as is not None:
            return filled(self.register_as, partition)
        words = _lasting(self.partitions_def, partition)
        return with_partition(self.name, "-".join(words) if words else None)


def settings_of(**given: Any) -> dict[str, Any]:
    """What was given of a job's specification, as JSON."""
    return {name: _as_json(value) for name, value in given.items() if value is not None}


def _as_json(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True) if dump else value


def _lasting(partitions: PartitionsDefinition[str] | None, partition: str | None) -> list[str]:
    """The parts of a partition that aren't times."""
    if partition is None or isinstance(partitions, TimeWindowPartitionsDefinition):
        return []
    if isinstance(partitions, MultiPartitionsDefinition) and isinstance(partition, MultiPartitionKey):
        times = {
            one.name
            for one in partitions.partitions_defs
            if isinstance(one.partitions_def, TimeWindowPartitionsDefinition)
        }
        return [key for name, key in sorted(partition.keys_by_dimension.items()) if name not in times]
    return [partition]
