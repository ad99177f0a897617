"""The component: a fine-tuned model in a few lines of YAML.

Dagster reads the annotations of a component as they are, so none of them is text here.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from dagster import (
    AllPartitionMapping,
    AssetIn,
    AssetKey,
    AutomationCondition,
    BackfillPolicy,
    Backoff,
    Component,
    ComponentLoadContext,
    Definitions,
    DynamicPartitionsDefinition,
    FreshnessPolicy,
    IdentityPartitionMapping,
    Jitter,
    LastPartitionMapping,
    Model,
    PartitionMapping,
    PartitionsDefinition,
    ResolutionContext,
    Resolvable,
    Resolver,
    RetryPolicy,
    Scaffolder,
    ScaffoldRequest,
    scaffold_component,
    scaffold_with,
)
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    MultiRunBackfillPolicyModel,
    SingleRunBackfillPolicyModel,
    StaticPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_backfill_policy,
    resolve_partitions_def,
)
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel, ConfigDict, Field

from dagster_tuneway._names import without_partition
from dagster_tuneway._recipe import Waiting
from dagster_tuneway.factory import Translation, fine_tuned_model_assets
from dagster_tuneway.resource import FineTuningResource
from dagster_tuneway.sensor import fine_tuning_sensor
from tuneway.choices import Choice, Order, Reuse, Scoring
from tuneway.errors import InvalidSpec


class FromAsset(Model, Resolvable):
    """Data that an asset yields: a path, or rows."""

    asset: str = Field(description="The asset's key: raw/tickets.")
    partition_mapping: Any = Field(
        default=None,
        description='Which of its partitions are read: all, last, the same, or "{{ name }}" of a template variable.',
    )
    input_manager_key: str | None = Field(
        default=None, description="The I/O manager that loads the value, if it isn't the asset's own."
    )


class ModelGate(Model, Resolvable):
    """What one of the model's metrics must show: a bound, or no worse than the champion's."""

    metric: str = Field(description="full_valid_loss, valid_mean_token_accuracy, …")
    max: float | None = None
    min: float | None = None
    no_worse_than_champion: bool = False
    tolerance: float = Field(default=0.0, description="By how much it may be worse than the champion's.")


class ServiceSettings(Model, Resolvable):
    """The service and the account. Settings that aren't given come from the environment of the run."""

    base_url: str | None = None
    api_key_env: str | None = Field(default=None, description="The environment variable that holds the key.")
    organization: str | None = None
    project: str | None = None
    timeout: float = 60.0
    registry: str | None = Field(default=None, description="sqlite:///models.db, mlflow:http://…")
    reports: str | None = Field(
        default=None, description="Where the reports of trainings are written: a folder, or s3://bucket/reports."
    )


class Retries(Model, Resolvable):
    """How often a step is tried again, and when. An error that no retry cures isn't retried."""

    max_retries: int = 1
    delay: float | None = Field(default=None, description="Seconds between two attempts.")
    backoff: Literal["LINEAR", "EXPONENTIAL"] | None = Field(default=None, description="How the delay grows.")
    jitter: Literal["FULL", "PLUS_MINUS"] | None = Field(default=None, description="How chance changes the delay.")


class DynamicPartitions(Model, Resolvable):
    """Partitions that are added while Dagster runs."""

    type: Literal["dynamic"] = "dynamic"
    name: str


Data = str | FromAsset
_MAPPINGS: dict[str, type[PartitionMapping]] = {
    "all": AllPartitionMapping, "last": LastPartitionMapping, "the same": IdentityPartitionMapping,
}  # fmt: skip


def _resolve_data(context: ResolutionContext, given: Any) -> Any:
    if not isinstance(given, FromAsset):
        return context.resolve_value(given)
    return FromAsset(**{name: context.resolve_value(value) for name, value in vars(given).items()})


def _resolve_partitions(context: ResolutionContext, model: Any) -> PartitionsDefinition[str] | None:
    if isinstance(model, DynamicPartitions):
        return DynamicPartitionsDefinition(name=str(context.resolve_value(model.name)))
    partitions: PartitionsDefinition[str] | None = resolve_partitions_def(context, model)
    return partitions


class _Params(BaseModel):
    """The parameters of `dg scaffold defs`."""

    base_model: str = Field(default="gpt-4o-mini", description="The model to start from.")
    training_data: str = Field(default="train.jsonl", description="The path of the training data.")


class FineTunedModelScaffolder(Scaffolder[_Params]):
    """Writes a `defs.yaml` that works, and a few rows of data to start with."""

    @classmethod
    def get_scaffold_params(cls) -> type[_Params]:
        """The parameters that can be given."""
        return _Params

    def scaffold(self, request: ScaffoldRequest[_Params]) -> None:
        """Write the files."""
        params, place = request.params, request.target_path
        attributes = {"name": place.name, "base_model": params.base_model, "training_data": params.training_data}
        scaffold_component(request, attributes)
        data = place / params.training_data
        if data.parent == place and not data.exists():
            rows = "".join(_ROW.format(number) for number in range(1, 11))
            data.write_text(rows, encoding="utf-8")


_ROW = (
    '{{"messages": [{{"role": "user", "content": "Question {0}: replace me"}}, '
    '{{"role": "assistant", "content": "Answer {0}: replace me"}}]}}\n'
)


@scaffold_with(FineTunedModelScaffolder)
class FineTunedModelComponent(Component, Model, Resolvable):
    """A fine-tuned model: its uploaded data, job, model and registered version, as assets with checks.

    Paths are relative to the folder of the YAML file. For the other fields see `fine_tuned_model_assets`.
    """

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(description="The name of the model in the registry, of the group of assets, and in their keys.")
    base_model: str = Field(description="The model to start from.")
    training_data: Annotated[
        Data,
        Resolver(
            _resolve_data,
            model_field_type=Data,
            description="The path or URL of JSONL, Parquet, Arrow or CSV, or the asset that yields data.",
        ),
    ]
    validation_data: Annotated[
        Data | float | None,
        Resolver(
            _resolve_data,
            model_field_type=Data | float | None,
            description="Likewise, or the share of the training data that is split off for it: 0.1.",
        ),
    ] = None
    row: Mapping[str, str] | None = Field(
        default=None, description='How each row is made of columns: {user: "{question}", assistant: "{answer}"}.'
    )
    order: Order = Field(
        default="given", description="content: the rows are sorted, so that the same set of rows is the same file."
    )
    method: Mapping[str, Any] | None = Field(
        default=None, description="The method and its settings: {type: supervised, n_epochs: 3}."
    )
    suffix: str | None = Field(default=None, description="A word in the new model's name; by default the group's name.")
    seed: int | None = Field(
        default=None, description="The same seed and data give the same training, as far as the service can."
    )
    metadata: Mapping[str, str] | None = Field(default=None, description="Pairs of your own, kept on the job.")
    integrations: Sequence[Mapping[str, Any]] | None = Field(default=None, description="Weights & Biases, as JSON.")
    hyperparameters: Mapping[str, Any] | None = Field(
        default=None, description="The old place for them; `method` is the new one."
    )
    extra_body: Mapping[str, Any] | None = Field(default=None, description="Fields that only your service knows.")
    reuse: Reuse = Field(
        default="content", description="content: a job on the same data with the same settings is used again."
    )
    wait: Waiting = Field(default="step", description="sensor: no run waits for the job.")
    timeout: float | None = Field(default=None, description="Seconds to wait for the job.")
    cancel_on_termination: bool = Field(
        default=True, description="Cancel the job when a person terminates the run that made it."
    )
    max_usd: float | None = Field(default=None, description="A training that is estimated to cost more is blocked.")
    data_options: Mapping[str, Any] | None = Field(
        default=None, description="Further arguments of `tuneway.dataset.validate`: {prices: {my-model: 1.5}}."
    )
    gates: Sequence[ModelGate] = Field(default=(), description="What the model must show: checks that block.")
    held_out: str | None = Field(
        default=None, description="A JSONL file of rows that the base model and the tuned one are asked."
    )
    score: Scoring = Field(default="exact", description="How answers to them are scored.")
    alias: str | None = Field(default=None, description="champion, challenger or a word of your own.")
    checkpoint: Choice = Field(default="last", description="Which checkpoint is registered.")
    key_prefix: Sequence[str] | None = Field(default=None, description="Comes before the name in the assets' keys.")
    group_name: str | None = Field(default=None, description="By default the name.")
    owners: Sequence[str] | None = Field(default=None, description='E-mail addresses, "team:name".')
    tags: Mapping[str, str] | None = Field(default=None, description="For the assets.")
    pool: str | None = Field(default=None, description="The concurrency pool whose limit is how many jobs run at once.")
    op_tags: Mapping[str, Any] | None = Field(
        default=None, description="Of each step: what its executor reads, such as `dagster-k8s/config`."
    )
    code_version: str | int | float | None = Field(  # Dagster reads a quoted number as a number
        default=None, description="By default a hash of the fields that say how to train."
    )
    deps: Sequence[str] = Field(default=(), description="Keys of further assets that `training_file` depends on.")
    retry_policy: Retries | None = Field(default=None, description="Of each step: {max_retries: 3, delay: 10}.")
    required_resource_keys: Sequence[str] = Field(
        default=(), description="Further resources of the project that the step that uploads needs."
    )
    translation: Annotated[
        TranslationFn[None] | None,
        TranslationFnResolver[None](lambda _: {}),
    ] = Field(
        default=None,
        description='Changes of each of the four assets: {group_name: ml, metadata: {team: support}}; "{{ spec.key }}" '
        "is what it has without them.",
    )
    partitions_def: Annotated[
        PartitionsDefinition | None,
        Resolver(
            _resolve_partitions,
            model_field_type=HourlyPartitionsDefinitionModel
            | DailyPartitionsDefinitionModel
            | WeeklyPartitionsDefinitionModel
            | TimeWindowPartitionsDefinitionModel
            | StaticPartitionsDefinitionModel
            | DynamicPartitions,
            description="One model for each partition.",
        ),
    ] = None
    automation_condition: Annotated[
        AutomationCondition[Any] | None,
        Resolver.default(model_field_type=str | None, description='"{{ automation_condition.eager() }}"'),
    ] = None
    observe: str | None = Field(
        default="*/15 * * * *",
        description="When a path or URL is looked at, if there is a condition: a cron schedule. null: never.",
    )
    backfill_policy: Annotated[
        BackfillPolicy | None,
        Resolver(
            resolve_backfill_policy,
            model_field_type=MultiRunBackfillPolicyModel | SingleRunBackfillPolicyModel,
            description="{type: multi_run}: a run is about one partition, as without it.",
        ),
    ] = None
    freshness_policy: Annotated[
        FreshnessPolicy | None,
        Resolver.default(model_field_type=str | None, description="How old the model may get."),
    ] = None
    service: ServiceSettings | None = Field(
        default=None, description="The service for this component; by default as the environment of the run says."
    )
    resource_key: str | None = Field(
        default=None, description="A `FineTuningResource` of the project to use instead of an own one."
    )

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """The assets, their resource, and the sensor if they wait with one."""
        group = without_partition(self.name)
        key = self.resource_key or f"tuneway_{group}"
        assets = fine_tuned_model_assets(
            model=self.base_model,
            training_data=_data(self.training_data, context.path),
            validation_data=_data(self.validation_data, context.path),
            held_out=None if self.held_out is None else _path(self.held_out, context.path),
            gates=[gate for given in self.gates for gate in _gates(given)],
            deps=[AssetKey.from_user_string(key) for key in self.deps],
            code_version=None if self.code_version is None else str(self.code_version),
            retry_policy=_retry_policy(self.retry_policy),
            translation=_translation(self.translation),
            resource_key=key,
            **{name: getattr(self, name) for name in _PASSED_ON},
        )
        sensors = [fine_tuning_sensor(assets, name=f"{group}_jobs")] if self.wait == "sensor" else []
        resources = {} if self.resource_key else {key: _resource(self.service or ServiceSettings())}
        return Definitions(assets=assets, sensors=sensors, resources=resources)


_PASSED_ON = set(FineTunedModelComponent.model_fields) - {
    *("base_model", "training_data", "validation_data", "held_out", "gates", "service", "resource_key"),
    *("code_version", "deps", "retry_policy", "translation"),
}


def _data(given: Data | float | None, folder: Path) -> Any:
    if isinstance(given, FromAsset):
        return AssetIn(
            AssetKey.from_user_string(given.asset),
            partition_mapping=_partition_mapping(given.partition_mapping),
            input_manager_key=given.input_manager_key,
        )
    return _path(given, folder) if isinstance(given, str) and "://" not in given else given


def _partition_mapping(given: Any) -> PartitionMapping | None:
    if given is None or isinstance(given, PartitionMapping):
        return given
    if given not in _MAPPINGS:
        words = ", ".join(_MAPPINGS)
        raise InvalidSpec(
            f"partition_mapping: it is neither one of {words} nor a mapping of Dagster", field="partition_mapping"
        )
    return _MAPPINGS[given]()


def _path(given: str, folder: Path) -> str:
    return str(folder / os.path.expanduser(given))  # noqa: PTH111 - pathlib's raises without a home


def _retry_policy(given: Retries | None) -> RetryPolicy | None:
    if given is None:
        return None
    backoff, jitter = given.backoff and Backoff[given.backoff], given.jitter and Jitter[given.jitter]
    return RetryPolicy(max_retries=given.max_retries, delay=given.delay, backoff=backoff, jitter=jitter)


def _translation(given: TranslationFn[None] | None) -> Translation | None:
    return None if given is None else lambda spec: given(spec, None)


def _gates(given: ModelGate) -> list[Any]:
    from tuneway.registry import Gate, NoWorseThanChampion

    bounded = given.max is not None or given.min is not None
    gates: list[Any] = []
    if bounded or not given.no_worse_than_champion:  # a gate without a bound raises
        gates.append(Gate(given.metric, max=given.max, min=given.min))
    if given.no_worse_than_champion:
        gates.append(NoWorseThanChampion(given.metric, tolerance=given.tolerance))
    return gates


def _resource(service: ServiceSettings) -> FineTuningResource:
    from dagster import EnvVar

    settings = service.model_dump(exclude={"api_key_env"})
    key = EnvVar(service.api_key_env) if service.api_key_env else None
    return FineTuningResource(api_key=key, **settings)
