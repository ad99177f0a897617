"""The assets: training file → job → fine-tuned model → registered model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from dagster import (
    AssetCheckSpec,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    AutomationCondition,
    BackfillPolicy,
    PartitionsDefinition,
    RetryPolicy,
    asset_check,
)

from dagster_tuneway import _checks, _ops
from dagster_tuneway._data import DataSource
from dagster_tuneway._files import ObservedFiles
from dagster_tuneway._keys import Keys, marked
from dagster_tuneway._names import without_partition
from dagster_tuneway._recipe import AssetRecipe, Waiting
from dagster_tuneway._values import IO_MANAGER, reported_with_values, step_with_values
from dagster_tuneway.fields import AssetFields
from tuneway.errors import InvalidSpec

Translation = Callable[[AssetSpec], AssetSpec]


class FineTunedModelAssets(list[AssetsDefinition]):
    """The definitions of one model, and their keys as they were made, for assets that depend on them.

    Where keys are changed afterwards, Dagster changes them in the assets that are loaded together.

    Args:
        recipe: What to train and how.
        made: The definitions.
    """

    def __init__(self, recipe: AssetRecipe, made: Iterable[AssetsDefinition]) -> None:
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
    key_prefix: str | Sequence[str] | None = None,
    partitions_def: PartitionsDefinition[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    observe: str | None = "*/15 * * * *",
    freshness_policy: Any = None,
    backfill_policy: BackfillPolicy | None = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    group_name: str | None = None,
    owners: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    code_version: str | None = None,
    deps: Sequence[Any] = (),
    translation: Translation | None = None,
    resource_key: str = "tuneway",
    required_resource_keys: Iterable[str] = (),
    **fields: Unpack[AssetFields],
) -> FineTunedModelAssets:
    """Make the four assets of a fine-tuned model: `training_file`, `job`, `fine_tuned_model`, `registered_model`.

        assets = fine_tuned_model_assets("support_router", training_data="train.jsonl", model="gpt-4o-mini")
        defs = Definitions(assets=assets, resources={"tuneway": FineTuningResource()})

    Each has a data version made of its content, so Dagster knows what is out of date, and shows why. `job` and
    `fine_tuned_model` are one step, which keeps its slot in the pool for as long as the job runs.

    Args:
        name: The model's name in the registry, of the group of assets, and in their keys. A partition is added in the
            registry, unless it is a time. To have it elsewhere in the name, or to have a model for each day, write
            `{partition_key}` there: "router-{partition_key}". The group and the keys leave it out.
        wait: "step": the step waits; a retry or a re-execution goes on waiting. "sensor": the run ends when the job
            is submitted, and `fine_tuning_sensor` reports how it ends.
        key_prefix: Comes before the name in the assets' keys. To have other keys than by the name, see `translation`.
        partitions_def: One model for each partition.
        automation_condition: Of each asset: `AutomationCondition.eager()` trains when the data is new.
        observe: When the file is looked at that `training_data` or `validation_data` names by a path or URL: a cron
            schedule, if there is an automation condition. Such a file is one more asset, of the name of that field,
            whose data version changes with its content, so that `eager()` trains when the file has changed. With None
            there is no such asset.
        freshness_policy: Of `fine_tuned_model`: how old the model may get.
        backfill_policy: Of each asset. Each partition has a model of its own, so a run is about one partition:
            `BackfillPolicy.multi_run()`, which is Dagster's own choice as well.
        retry_policy: Of each step; an error that no retry cures isn't retried.
        pool: The concurrency pool of the step that trains: its limit is how many jobs run at once.
        op_tags: Of each step: what its executor reads, such as `dagster-k8s/config`.
        group_name: By default the name.
        owners: Who looks after the assets: e-mail addresses, "team:name".
        tags: Of the assets.
        code_version: By default a hash of the fields that say how to train.
        deps: Further assets that `training_file` depends on.
        translation: Changes the spec of each asset: its key, description, group, metadata, tags, owners, I/O manager.
            It is given a spec and gives one: `lambda spec: spec.merge_attributes(metadata={"team": "support"})`.
        resource_key: The resource's name.
        required_resource_keys: Further resources, which `training_data` needs if it is a function of the context.
        fields: What to train, and what shall happen with the model: see `AssetFields`.
    """
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or [])
    group = without_partition(name)
    recipe = AssetRecipe.of(
        fields, name=name, keys=Keys.of([*prefix, group]), wait=wait, partitions_def=partitions_def,
        resource_key=resource_key, asks_for_registering=automation_condition is None,
    )  # fmt: skip
    common = {
        "group_name": group_name or re.sub(r"\W", "_", group),
        "owners": owners,
        "tags": tags,
        "automation_condition": automation_condition,
    }
    maker = _Specs(recipe, common, translation)
    files = ObservedFiles(recipe, [*prefix, name], observe if automation_condition else None, common, maker.spec)
    specs = maker.make([*files.deps, *deps], code_version, freshness_policy)
    recipe = replace(recipe, keys=Keys(**{role: spec.key for role, spec in specs.items()}))
    place = AssetKey([*prefix, group]).to_python_identifier()
    steps = {"retry_policy": retry_policy, "op_tags": op_tags, "backfill_policy": _one_by_one(backfill_policy)}
    workshop = _Workshop(recipe, specs, place, steps, pool=pool, resources=required_resource_keys)
    return FineTunedModelAssets(recipe, [*files.assets(place), *workshop.build()])


def _one_by_one(policy: BackfillPolicy | None) -> BackfillPolicy | None:
    if policy is not None and policy.max_partitions_per_run != 1:
        raise InvalidSpec(
            "backfill_policy: each partition has a model of its own, so a run is about one partition",
            field="backfill_policy",
            hint="Give BackfillPolicy.multi_run(), or none. How many jobs run at once is the pool's limit.",
        )
    return policy


class _Specs:
    """Makes the specs of the four assets."""

    def __init__(self, recipe: AssetRecipe, common: Mapping[str, Any], translation: Translation | None) -> None:
        self._recipe = recipe
        self._common = common
        self._translation = translation

    def make(self, deps: Sequence[Any], code_version: str | None, freshness_policy: Any) -> dict[str, AssetSpec]:
        """The specs as they were asked for, each with those before it as its dependencies."""
        recipe, keys = self._recipe, self._recipe.keys
        sources = [dep for source in (recipe.training, recipe.validation) if source and (dep := source.dep)]
        data = self._spec(
            keys.training_file,
            "Training data, checked and uploaded.",
            kinds={"tuneway", "jsonl"},
            deps=[*sources, *deps],
        )
        words = f"`{recipe.base}`, tuned on the uploaded data"
        job = self._spec(
            keys.job,
            f"The fine-tuning job for {words}.",
            kinds={"tuneway"},
            deps=[data.key],
            code_version=code_version or recipe.code_version,
        )
        model = self._spec(
            keys.model,
            f"The model that the job has made: {words}.",
            kinds={"tuneway", "llm"},
            deps=[job.key],
            freshness_policy=freshness_policy,
        )
        registered = self._spec(
            keys.registered,
            f"The model in the registry, as a version of {recipe.name}.",
            kinds={"tuneway", "model"},
            deps=[model.key],
        )
        return {"training_file": data, "job": job, "model": model, "registered": registered}

    def _spec(self, key: AssetKey, description: str, **more: Any) -> AssetSpec:
        given = {name: value for name, value in more.items() if value is not None}
        wanted = {"description": description, "partitions_def": self._recipe.partitions_def, **self._common, **given}
        return marked(self.spec(AssetSpec(key, **wanted).with_io_manager_key(IO_MANAGER)))

    def spec(self, spec: AssetSpec) -> AssetSpec:
        """A spec as the translation makes it."""
        if self._translation is None:
            return spec
        translated: object = self._translation(spec)
        if not isinstance(translated, AssetSpec):
            raise InvalidSpec(
                f"translation: it gave a {type(translated).__name__}, and has to give an AssetSpec", field="translation"
            )
        return translated


class _Workshop:
    """Makes the definitions of one recipe."""

    def __init__(
        self,
        recipe: AssetRecipe,
        specs: Mapping[str, AssetSpec],
        place: str,
        steps: Mapping[str, Any],
        *,
        pool: str | None,
        resources: Iterable[str],
    ) -> None:
        self._recipe = recipe
        self._specs = specs
        self._place = place
        self._steps = steps
        self._pool = pool
        self._resources = {*resources}

    def build(self) -> list[AssetsDefinition]:
        specs = self._specs
        training = self._training(specs["job"], specs["model"])
        return [self._uploading(specs["training_file"]), *training, self._registering(specs["registered"])]

    def _uploading(self, data: AssetSpec) -> AssetsDefinition:
        recipe = self._recipe
        sources = [source for source in (recipe.training, recipe.validation) if source and source.asset]

        checks = _checks.data_check_specs(data.key, recipe.max_usd)
        step = self._step("upload", [data], checks=checks, sources=sources, resources=self._resources, can_subset=True)
        return step(_ops.uploading(recipe))

    def _training(self, job: AssetSpec, model: AssetSpec) -> list[AssetsDefinition]:
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
        return [train, reported_with_values(model), trained(_ops.looking(recipe))]

    def _registering(self, registered: AssetSpec) -> AssetsDefinition:
        recipe = self._recipe
        checks = _checks.model_check_specs(registered.key, recipe.gates, held_out=recipe.held_out is not None)

        # checks can be left out, and with a sensor the run that submits has nothing to register yet
        return self._step("register", [registered], checks=checks, can_subset=True)(_ops.registering(recipe))

    def _step(
        self,
        verb: str,
        specs: Sequence[AssetSpec],
        *,
        checks: Sequence[AssetCheckSpec] = (),
        sources: Sequence[DataSource] = (),
        resources: Iterable[str] = (),
        pool: str | None = None,
        can_subset: bool = False,
    ) -> Callable[[Callable[..., Any]], AssetsDefinition]:
        recipe = self._recipe
        return step_with_values(
            name=f"{self._place}__{verb}",
            specs=specs,
            check_specs=checks,
            can_subset=can_subset,
            ins={source.name: source.input for source in sources},
            required_resource_keys={recipe.resource_key, *resources},
            partitions_def=recipe.partitions_def,
            pool=pool,
            **self._steps,
        )
