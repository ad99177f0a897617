"""The assets: training file → job → fine-tuned model → registered model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

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
from dagster_tuneway._data import AssetLike, Data, DataSource
from dagster_tuneway._recipe import AssetRecipe, Keys, Waiting, settings_of
from dagster_tuneway._runs import Reuse

if TYPE_CHECKING:
    from tuneway import DPO, Reinforcement, Supervised
    from tuneway.registry import GateLike

_Made = list[AssetsDefinition | AssetSpec]


class FineTunedModelAssets(list[AssetsDefinition | AssetSpec]):
    """The definitions of one model, and their keys, for assets that depend on them.

    Args:
        recipe: What they do.
        made: The definitions.
    """

    def __init__(self, recipe: AssetRecipe, made: _Made) -> None:
        super().__init__(made)
        self.recipe = recipe

    @property
    def training_file(self) -> AssetKey:
        """The data on the service."""
        return self.recipe.keys.training_file

    @property
    def job(self) -> AssetKey:
        """The job."""
        return self.recipe.keys.job

    @property
    def fine_tuned_model(self) -> AssetKey:
        """What the job has made."""
        return self.recipe.keys.model

    @property
    def registered_model(self) -> AssetKey:
        """Its version in the registry."""
        return self.recipe.keys.registered


def fine_tuned_model_assets(
    name: str,
    *,
    training_file: Data | AssetLike,
    model: str,
    validation_file: Data | AssetLike | None = None,
    method: Supervised | DPO | Reinforcement | Mapping[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, str] | None = None,
    integrations: Sequence[Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    reuse: Reuse = "content",
    wait: Waiting = "step",
    timeout: float | None = None,
    cancel_on_termination: bool = False,
    max_usd: float | None = None,
    data_options: Mapping[str, Any] | None = None,
    gates: Sequence[GateLike] = (),
    held_out: str | PathLike[str] | Sequence[Mapping[str, Any]] | None = None,
    score: Literal["exact", "contains"] | Callable[[str, str], float | bool] = "exact",
    alias: str | None = None,
    checkpoint: Literal["last", "best"] = "last",
    register_as: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    owners: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    code_version: str | None = None,
    deps: Sequence[Any] = (),
    partitions_def: PartitionsDefinition[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    freshness_policy: Any = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
    resource_key: str = "tuneway",
) -> FineTunedModelAssets:
    """Make the four assets of a fine-tuned model: `training_file`, `job`, `fine_tuned_model`, `registered_model`.

        assets = fine_tuned_model_assets("support_router", training_file="train.jsonl", model="gpt-4o-mini")
        defs = Definitions(assets=assets, resources={"tuneway": FineTuningResource()})

    Their keys start with the name. Each has a data version made of its content (the data's hash; the hash of
    data and settings; the model's own name), so Dagster knows what is out of date, and shows why. `job` and
    `fine_tuned_model` are one step, which holds its place in the pool for as long as the job runs.

    Args:
        name: What the group, its keys and the registered model are called.
        training_file: The path of a JSONL file, rows, a function of the context that gives one of these, or
            the asset that yields one of these. In a path, `{partition_key}` stands for the partition.
        model: The model to start from.
        validation_file: Data to measure on, likewise.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or the same as JSON.
        suffix: A word in the new model's name; the group's name, unless given. A partition is added to it.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 14 pairs of your own, kept on the job; 13 with `cancel_on_termination`.
        integrations: Up to five, Weights & Biases among them.
        hyperparameters: The old place for them; `method` is the new one.
        extra_body: Fields that only your service knows.
        reuse: What a materialization may use again. "content", the default: whatever trains the same data in
            the same way, whoever made it and when; so materializing unchanged data costs nothing, as one
            expects of an asset. "run": only what this run, its retries and its re-executions have made; a
            new run trains anew. "never": the same, but a re-execution by a person trains anew as well. One
            run can be told otherwise by its tag `tuneway/reuse`. Failed and cancelled jobs are never used.
        wait: "step": in the step, which goes on where it was when it is retried or executed again. "sensor":
            nowhere; the run ends when the job is submitted, and `fine_tuning_sensor` reports what becomes of
            it.
        timeout: Seconds to wait. The job goes on, and the next attempt waits on; with a sensor, the check
            `trained` fails.
        cancel_on_termination: Whether the job is cancelled when somebody terminates the run. It isn't when a
            worker goes away.
        max_usd: More than this estimated cost fails the check `within_budget`, and nothing is sent.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
        gates: What the version must show (`tuneway.registry`): each is a check on `registered_model` that
            blocks what comes after it, and keeps the alias where it is.
        held_out: Rows that both the base model and the tuned one are asked: the check `no_worse_than_base`.
        score: How answers to them are scored.
        alias: "champion", "challenger" or a word of your own, moved to the version if the gates agree.
        checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
        register_as: The model's name in the registry. Unless given, it is the group's name, with the
            partition added if that isn't a time: of customers each has a model of its own, of days each has
            a version.
        key_prefix: Before the name, in the assets' keys.
        group_name: The name, unless given.
        owners: Who looks after the assets: e-mail addresses, "team:name".
        tags: For the assets.
        code_version: A hash of the settings, unless given.
        deps: Further assets that `training_file` depends on, such as what a path's file is made by.
        partitions_def: One model for each partition.
        automation_condition: For each asset: `AutomationCondition.eager()` trains when the data is new.
        freshness_policy: For `fine_tuned_model`: how old the model may get.
        retry_policy: For each step; an error that no retry cures isn't retried.
        pool: The concurrency pool of the step that trains, and so how many jobs run at once.
        resource_key: The resource's name.
    """
    path = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or [])
    recipe = AssetRecipe(
        name=name,
        keys=Keys.of([*path, name]),
        training=DataSource.of("training_data", training_file),
        validation=None if validation_file is None else DataSource.of("validation_data", validation_file),
        settings=settings_of(
            model=model,
            method=method,
            suffix=suffix,
            seed=seed,
            metadata=metadata,
            integrations=integrations,
            hyperparameters=hyperparameters,
            extra_body=extra_body,
        ),
        reuse=reuse,
        wait=wait,
        timeout=timeout,
        cancel_on_termination=cancel_on_termination,
        max_usd=max_usd,
        data_options=data_options or {},
        gates=gates,
        held_out=held_out,
        score=score,
        alias=alias,
        checkpoint=checkpoint,
        register_as=register_as,
        partitions_def=partitions_def,
        resource_key=resource_key,
        asks_for_registering=automation_condition is None,
    )
    common = {
        "group_name": group_name or re.sub(r"\W", "_", name),
        "owners": owners,
        "tags": tags,
        "automation_condition": automation_condition,
    }
    workshop = _Workshop(recipe, common, retry_policy=retry_policy, pool=pool)
    made = workshop.build(deps=deps, code_version=code_version, freshness_policy=freshness_policy)
    return FineTunedModelAssets(recipe, made)


class _Workshop:
    """Makes the definitions of one recipe."""

    def __init__(
        self, recipe: AssetRecipe, common: Mapping[str, Any], *, retry_policy: RetryPolicy | None, pool: str | None
    ) -> None:
        self._recipe = recipe
        self._common = common
        self._retry_policy = retry_policy
        self._pool = pool

    def build(self, *, deps: Sequence[Any], code_version: str | None, freshness_policy: Any) -> _Made:
        recipe, keys = self._recipe, self._recipe.keys
        words = f"`{recipe.base}`, tuned on `{keys.training_file.to_user_string()}`"
        trains = {"code_version": code_version or recipe.code_version}
        sources = [source.asset for source in (recipe.training, recipe.validation) if source and source.asset]
        data = self._spec(
            keys.training_file,
            "Training data, checked and on the service.",
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
            description="The job has ended well. The sensor reports it.",
            required_resource_keys={recipe.resource_key},
        )
        return [train, model, trained(_ops.looking(recipe))]

    def _registering(self, registered: AssetSpec) -> AssetsDefinition:
        recipe = self._recipe
        checks = _checks.model_check_specs(registered.key, recipe.gates, held_out=recipe.held_out is not None)

        # where the sensor asks for it later, the step has nothing to give in the run that submits
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
