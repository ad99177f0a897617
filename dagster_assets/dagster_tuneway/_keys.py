"""The keys of a group's four assets: as they were made, and as they are called now.

Dagster can rename assets after they were made: `key_prefix` of `load_assets_from_modules`, `with_attributes`. So each
asset is marked with the key that it was made with, and whoever needs the others' keys looks for the marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, AssetSelection, AssetSpec

from dagster_tuneway._log import output_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from dagster import AssetCheckExecutionContext, AssetExecutionContext

MADE_AS = "tuneway/asset"
"""The name of the metadata entry that holds the key that an asset was made with."""


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

    def now(self, graph: Any, last: Iterable[AssetKey]) -> Keys:
        """As they are called now in a graph of assets, as far as they are these or come before them."""
        own = {key.to_user_string(): role for role, key in vars(self).items()}
        found: dict[str, AssetKey] = {}
        waiting = list(last)
        while waiting:
            key = waiting.pop()
            role = own.get(_made_as(graph, key))
            if role is not None and role not in found:
                found[role] = key
                waiting += graph.get(key).parent_keys
        return Keys(**vars(self) | found)


def marked(spec: AssetSpec) -> AssetSpec:
    """A spec that keeps the key that it has now."""
    return spec.merge_attributes(metadata={MADE_AS: spec.key.to_user_string()})


def made_as(graph: Any, key: AssetKey) -> list[AssetKey]:
    """The assets in a graph that were made with this key."""
    wanted = key.to_user_string()
    found = sorted(one for one in graph.get_all_asset_keys() if _made_as(graph, one) == wanted)
    return found or [key] * graph.has(key)  # a person may have taken the marks away


def keys_in_step(context: AssetExecutionContext, keys: Keys) -> Keys:
    """The keys as they are called in the run of a step.

    There, no more is known than its own assets and those that it depends on; the others are as they were made.
    """
    step = context.op_execution_context
    definition = step.assets_def
    about = {*definition.keys, *(key.asset_key for key in definition.check_keys)}
    return keys.now(step.job_def.asset_layer.asset_graph, about)


def keys_in_check(context: AssetCheckExecutionContext, keys: Keys) -> Keys:
    """The keys as they are called where a check of the model runs; the job is what the model depends on."""
    step = context.op_execution_context
    (model,) = {key.asset_key for key in step.assets_def.check_keys}
    before = sorted(step.job_def.asset_layer.asset_graph.get(model).parent_keys)
    job = next((key for key in before if "job_id" in (output_of(context.instance, key) or {})), keys.job)
    return replace(keys, job=job, model=model)


def _made_as(graph: Any, key: AssetKey) -> str:
    return str(graph.get(key).metadata.get(MADE_AS, "")) if graph.has(key) else ""


class MadeAs(AssetSelection):
    """Selects the assets that were made with these keys, whatever they are called now."""

    def __init__(self, keys: Iterable[AssetKey]) -> None:
        self._keys = list(keys)

    def resolve_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[AssetKey]:  # noqa: ARG002, FBT001
        """The keys that they have now."""
        return {found for key in self._keys for found in made_as(asset_graph, key)}

    def to_selection_str(self) -> str:
        """What Dagster's pages show of it."""
        return " or ".join(f'key:"{key.to_user_string()}"' for key in self._keys)
