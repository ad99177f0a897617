"""The arguments of a group of assets, checked when the definitions are loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dagster import (
    MultiPartitionKey,
    MultiPartitionsDefinition,
    PartitionsDefinition,
    TimeWindowPartitionsDefinition,
)

from dagster_tuneway._checks import model_check_names
from dagster_tuneway._data import DataSource
from dagster_tuneway._keys import Keys, keys_in_check, keys_in_step
from dagster_tuneway._names import PARTITION, filled, with_partition, without_partition
from dagster_tuneway._runs import partition_of
from tuneway.choices import Choice, Reuse, Scoring, check_word
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext

    from dagster_tuneway.fields import AssetFields
    from dagster_tuneway.resource import FineTuningResource
    from tuneway import JobSpec, Recipe
    from tuneway.registry import GateLike, RegistrationFields

Waiting = Literal["step", "sensor"]

_LATER = "known-at-run-time.jsonl"
_ANY_PARTITION = "known-at-run-time"
_ANY_REGISTRY = "sqlite:///known-at-run-time.db"
"""Stand in for what only a step knows, so that everything else can be checked when the definitions are loaded."""


@dataclass(frozen=True, kw_only=True)
class AssetRecipe:
    """One group of assets: the core's recipe, whose data may come from other assets, and what Dagster adds to it.

    Args:
        name: The model's name in the registry; `{partition_key}` in it is replaced.
        keys: The assets.
        training: Where the training data comes from.
        validation: Where the validation data comes from.
        fields: All other fields of the core's `Recipe`.
        registers: Whether the model is registered.
        asks_for_registering: Whether the sensor asks for the run that registers the model.

    The other fields are those of `fine_tuned_model_assets`.
    """

    name: str
    keys: Keys
    training: DataSource
    validation: DataSource | None
    fields: Mapping[str, Any]
    reuse: Reuse = "content"
    wait: Waiting = "step"
    timeout: float | None = None
    cancel_on_termination: bool = True
    gates: Sequence[GateLike] = ()
    held_out: Any = None
    score: Any = "exact"
    alias: str | None = None
    checkpoint: Choice = "last"
    registers: bool = True
    partitions_def: PartitionsDefinition[str] | None = None
    resource_key: str = "tuneway"
    asks_for_registering: bool = True

    @classmethod
    def of(cls, given: AssetFields, **more: Any) -> Self:
        """Take the shared fields apart: where the data comes from, what is Dagster's own, what is the core's."""
        fields: dict[str, Any] = dict(given)
        training, validation = fields.pop("training_data", None), fields.pop("validation_data", None)
        if training is None:
            raise InvalidSpec("training_data: there is none", field="training_data")
        own = {name: fields.pop(name) for name in _OWN if name in fields}
        own["held_out"] = _path_or_rows(own.get("held_out"))
        return cls(
            training=DataSource.of("training_data", training),
            validation=None if validation is None else DataSource.of("validation_data", validation),
            fields=fields,
            **own,
            **more,
        )

    def __post_init__(self) -> None:
        from tuneway.flows import check_room, deadline_after
        from tuneway.registry import check_registration, questions_in

        check_word(self.reuse, Reuse, field="reuse")
        check_word(self.wait, Waiting, field="wait")
        deadline_after(self.timeout, 0.0)
        if not callable(self.score):
            check_word(self.score, Scoring, field="score", hint="A function is possible as well.")
        if self.held_out is not None and not self.registers:
            raise InvalidSpec(
                "held_out: there is no name to register the model under", field="held_out", hint="Give a name as well."
            )
        recipe = self._anywhere
        check_room(recipe.metadata, keep_origin=self.cancel_on_termination)
        if self.partitions_def is None and PARTITION in self.name:
            raise InvalidSpec(
                f"name: there are no partitions for {PARTITION}", field="name", hint="Give partitions_def."
            )
        if not self.group:
            raise InvalidSpec(f"name: it has only {PARTITION}", field="name", hint="Add a word: model-{partition_key}.")
        if isinstance(self.held_out, list):
            questions_in(self.held_out)
        then = self.then(_ANY_PARTITION if self.partitions_def else None, registry=_ANY_REGISTRY)
        check_registration(**then, training=recipe, validated=self.validation is not None)
        _ = self.check_names

    def with_keys(self, keys: Keys) -> Self:
        """The same with other keys; it isn't checked again."""
        same = copy(self)
        object.__setattr__(same, "keys", keys)
        return same

    def in_step(self, context: AssetExecutionContext) -> Self:
        """The same with the keys that its assets have where this step runs."""
        return self.with_keys(keys_in_step(context, self.keys))

    def in_check(self, context: AssetCheckExecutionContext) -> Self:
        """The same with the keys that its assets have where the check of a reported model runs."""
        return self.with_keys(keys_in_check(context, self.keys))

    def resource(self, context: Any) -> FineTuningResource:
        """The resource, in a step, a check or a sensor."""
        resource: FineTuningResource = getattr(context.resources, self.resource_key)
        return resource

    @property
    def max_usd(self) -> float | None:
        """The budget, if there is one."""
        return self._anywhere.max_usd

    @property
    def check_names(self) -> list[str]:
        """What the checks of the registered model are called."""
        return model_check_names(self.gates, held_out=self.held_out is not None)

    @property
    def base(self) -> str:
        """The model to start from."""
        return self._anywhere.model

    @cached_property
    def code_version(self) -> str:
        """A hash of everything that is trained but for the data: other settings are another version of the code."""
        settings = self._anywhere.model_dump(
            mode="json", exclude_none=True, exclude={"training_data", "validation_data", "max_usd", "data_options"}
        )
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    def recipe(self, context: AssetExecutionContext, loaded: Mapping[str, Any]) -> Recipe:
        """The core's recipe for this step."""
        training = self.training.data(context, loaded)
        validation = self.validation.data(context, loaded) if self.validation else None
        return self._recipe(training, validation, partition_of(context))

    def spec(self, training_file: str, validation_file: str | None, partition: str | None) -> JobSpec:
        """The core's job specification, for data that is uploaded."""
        recipe = self._recipe(_LATER, _LATER if validation_file else None, partition)
        return recipe.spec(training_file, validation_file)

    def questions(self, partition: str | None) -> list[dict[str, Any]] | Path | None:
        """The held-out rows, or their file. It is read here, so that a bad one is refused before a job is paid for."""
        given = self.held_out
        if not isinstance(given, str | PathLike):
            return given  # type: ignore[no-any-return]
        from tuneway.registry import questions_in

        path = Path(filled(fspath(given), partition))
        questions_in(path)
        return path

    def then(self, partition: str | None, *, registry: str | None) -> RegistrationFields:
        """How the model is to be registered."""
        return {
            "name": self.model_name(partition) if self.registers else None,
            "registry": registry,
            "alias": self.alias,
            "checkpoint": self.checkpoint,
            "gates": self.gates,
        }

    @property
    def group(self) -> str:
        """The name of the group: that of the model without its partition."""
        return without_partition(self.name)

    def model_name(self, partition: str | None) -> str:
        """What the model is called in the registry.

        Customers' partitions are a model each. Days are versions of one model, so that each is compared with the
        one before.
        """
        if PARTITION in self.name:
            return with_partition(self.name, partition)
        words = _lasting(self.partitions_def, partition)
        return with_partition(self.name, "-".join(words) if words else None)

    @cached_property
    def _anywhere(self) -> Recipe:
        """The recipe, as far as it is known without data and partition."""
        return self._recipe(_LATER, _LATER if self.validation else None, None)

    def _recipe(self, training_data: Any, validation_data: Any, partition: str | None) -> Recipe:
        """A partition's model has the partition in its suffix, so that equal data still makes a model for each."""
        from tuneway import Recipe

        suffix = with_partition(str(self.fields.get("suffix") or self.group), partition)
        data = {"training_data": training_data, "validation_data": validation_data}
        return Recipe(**{**self.fields, **data, "suffix": suffix})


_OWN = frozenset({
    "reuse", "timeout", "cancel_on_termination", "gates", "held_out", "score", "alias", "checkpoint"
})  # fmt: skip
"""The shared fields that aren't the core recipe's."""


def _path_or_rows(given: Any) -> Any:
    """Held-out rows as a list; a path as it is."""
    if given is None or isinstance(given, str | PathLike):
        return given
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise InvalidSpec(
            f"held_out: a {type(given).__name__} is neither a path nor rows",
            field="held_out",
            hint="Give the path of a JSONL file, or a list of rows.",
        )
    return list(given)


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
