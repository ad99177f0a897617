"""The assets: training file → job → fine-tuned model → registered model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from dagster import (
    AssetCheckSpec,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    AutomationCondition,
    PartitionsDefinition,
    RetryPolicy,
    asset_check,
    multi_asset,
)

from dagster_tuneway import _checks, _ops
from dagster_tuneway._data import DataSource
from dagster_tuneway._recipe import AssetRecipe, Keys, Waiting
from dagster_tuneway.fields import AssetFields

_Made = list[AssetsDefinition | AssetSpec]


class FineTunedModelAssets(list[AssetsDefinition | AssetSpec]):
    """The definitions of one model, and their keys, for assets that depend on them.

    Args:
        recipe: What to train and how.
        made: The definitions.
    """

    def __init__(self, recipe: AssetRecipe, made: _Made) -> None:
        super().__init__(made)
        self.recipe = recipe

    @property
    def training_file(self) -> AssetKey:
        """The uploaded data."""
        return self.recipe.keys.training_file

    @property
    def job(self) -> AssetKey:
        """The fine-tuning job."""
        return self.recipe.keys.job

    @property
    def fine_tuned_model(self) -> AssetKey:
        """The model that the job has made."""
        return self.recipe.keys.model

    @property
    def registered_model(self) -> AssetKey:
        """The model's version in the registry."""
        return self.recipe.keys.registered


def fine_tuned_model_assets(
    name: str,
    *,
    wait: Waiting = "step",
    register_as: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    partitions_def: PartitionsDefinition[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    freshness_policy: Any = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
    group_name: str | None = None,
    owners: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    code_version: str | None = None,
    deps: Sequence[Any] = (),
    resource_key: str = "tuneway",
    **fields: Unpack[AssetFields],
) -> FineTunedModelAssets:
    """Make the four assets of a fine-tuned model: `training_file`, `job`, `fine_tuned_model`, `registered_model`.

        assets = fine_tuned_model_assets("support_router", training_data="train.jsonl", model="gpt-4o-mini")
        defs = Definitions(assets=assets, resources={"tuneway": FineTuningResource()})

    Each has a data version made of its content, so Dagster knows what is out of date, and shows why. `job` and
    `fine_tuned_model` are one step, which keeps its slot in the pool for as long as the job runs.

    Args:
        name: The name of the group, the first part of its keys, and the default of the registered model's name.
        wait: "step": the step waits; a retry or a re-execution goes on waiting. "sensor": the run ends when the job
            is submitted, and `fine_tuning_sensor` reports how it ends.
        register_as: The model's name in the registry; by default the group's, with the partition unless it is a time.
        key_prefix: Comes before the name in the assets' keys.
        partitions_def: One model for each partition.
        automation_condition: Of each asset: `AutomationCondition.eager()` trains when the data is new.
        freshness_policy: Of `fine_tuned_model`: how old the model may get.
        retry_policy: Of each step; an error that no retry cures isn't retried.
        pool: The concurrency pool of the step that trains: its limit is how many jobs run at once.
        group_name: By default the name.
        owners: Who looks after the assets: e-mail addresses, "team:name".
        tags: Of the assets.
        code_version: By default a hash of the fields that say how to train.
        deps: Further assets that `training_file` depends on.
        resource_key: The resource's name.
        fields: What to train, and what shall happen with the model: see `AssetFields`.
    """
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or [])
    recipe = AssetRecipe.of(
        fields, name=name, keys=Keys.of([*prefix, name]), wait=wait, register_as=register_as,
        partitions_def=partitions_def, resource_key=resource_key,
        asks_for_registering=automation_condition is None,
    )  # fmt: skip
    common = {
        "group_name": group_name or re.sub(r"\W", "_", name),
        "owners": owners,
        "tags": tags,
        "automation_condition": automation_condition,
    }
    workshop = _Workshop(recipe, common, retry_policy=retry_policy, pool=pool)
    return FineTunedModelAssets(recipe, workshop.build(deps, code_version, freshness_policy))


class _Workshop:
    """Makes the definitions of one recipe."""

    def __init__(
        self, recipe: AssetRecipe, common: Mapping[str, Any], *, retry_policy: RetryPolicy | None, pool: str | None
    ) -> None:
        self._recipe = recipe
        self._common = common
        self._retry_policy = retry_policy
        self._pool = pool

    def build(self, deps: Sequence[Any], code_version: str | None, freshness_policy: Any) -> _Made:
        recipe, keys = self._recipe, self._recipe.keys
        words = f"`{recipe.base}`, tuned on `{keys.training_file.to_user_string()}`"
        trains = {"code_version": code_version or recipe.code_version}
        sources = [source.asset for source in (recipe.training, recipe.validation) if source and source.asset]
        data = self._spec(
            keys.training_file,
            "Training data, checked and uploaded.",
            kinds={"tuneway", "jsonl"},
            deps=[*sources, *deps],
        )
        job = self._spec(
            keys.job,
            f"The fine-tuning job for {words}.",
            kinds={"tuneway"},
            deps=[keys.training_file],
            **trains,
        )
        model = self._spec(
            keys.model,
            f"The model that the job has made: {words}.",
            kinds={"tuneway", "llm"},
            deps=[keys.job],
            freshness_policy=freshness_policy,
        )
        registered = self._spec(
            keys.registered,
            f"The model in the registry, as a version of {recipe.register_as or recipe.name}.",
            kinds={"tuneway", "model"},
            deps=[keys.model],
        )
        return [self._uploading(data), *self._training(job, model), self._registering(registered)]

    def _spec(self, key: AssetKey, description: str, **more: Any) -> AssetSpec:
        given = {name: value for name, value in more.items() if value is not None}
        return AssetSpec(
            key, description=description, partitions_def=self._recipe.partitions_def, **self._common, **given
        )

    def _uploading(self, data: AssetSpec) -> AssetsDefinition:
        recipe = self._recipe
        sources = [source for source in (recipe.training, recipe.validation) if source and source.asset]

        checks = _checks.data_check_specs(data.key, recipe.max_usd)
        return self._step("upload", [data], checks=checks, sources=sources)(_ops.uploading(recipe))

    def _training(self, job: AssetSpec, model: AssetSpec) -> _Made:
        recipe = self._recipe
        in_step = recipe.wait == "step"

        specs = [job, model] if in_step else [job]
        train = self._step("train", specs, pool=self._pool, can_subset=in_step)(_ops.training(recipe))
        if in_step:
            return [train]
        trained = asset_check(
            asset=model.key,
            name=_checks.TRAINED,
            description="The job has succeeded. The sensor reports it.",
            required_resource_keys={recipe.resource_key},
        )
        return [train, model, trained(_ops.looking(recipe))]

    def _registering(self, registered: AssetSpec) -> AssetsDefinition:
        recipe = self._recipe
        checks = _checks.model_check_specs(registered.key, recipe.gates, held_out=recipe.held_out is not None)

        # with a sensor, the run that submits has nothing to register yet: the step gives nothing then
        later = recipe.wait == "sensor"
        return self._step("register", [registered], checks=checks, can_subset=later)(_ops.registering(recipe))

    def _step(
        self,
        verb: str,
        specs: Sequence[AssetSpec],
        *,
        checks: Sequence[AssetCheckSpec] = (),
        sources: Sequence[DataSource] = (),
        pool: str | None = None,
        can_subset: bool = False,
    ) -> Callable[[Callable[..., Any]], AssetsDefinition]:
        recipe = self._recipe
        group = AssetKey(recipe.keys.job.path[:-1]).to_python_identifier()
        return multi_asset(
            name=f"{group}__{verb}",
            specs=specs,
            check_specs=checks,
            can_subset=can_subset,
            ins={source.name: AssetIn(key=source.asset) for source in sources},
            required_resource_keys={recipe.resource_key},
            partitions_def=recipe.partitions_def,
            retry_policy=self._retry_policy,
            pool=pool,
        )
