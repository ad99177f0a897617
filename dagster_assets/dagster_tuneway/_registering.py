"""The third step: register the model, and say what the gates say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagster import AssetCheckResult, AssetExecutionContext, DataVersion, MaterializeResult

from dagster_tuneway import _checks
from dagster_tuneway._log import output_metadata, output_of, required_output, told_to_dagster
from dagster_tuneway._metadata import job_link, version_metadata
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway._runs import partition_of, requester_of
from dagster_tuneway.resource import FineTuningResource
from tuneway._escape import one_line
from tuneway.errors import GateRefused, NotRegistered
from tuneway.registry import (
    CHAMPION,
    GateLike,
    ModelRecord,
    ModelVersion,
    Registry,
    Verdict,
    default_uri,
    open_registry,
)
from tuneway.registry.gates import judge
from tuneway.steps import data_facts, version_summary

JOB_TAG = "tuneway/job_id"
"""A tag of the runs that the sensor asks for: the id of the job that has ended."""


def register(
    context: AssetExecutionContext, recipe: AssetRecipe
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Register the model, and say what the gates say; a refusal blocks everything after it."""
    tuneway = recipe.resource(context)
    if recipe.keys.registered not in context.selected_asset_keys:  # a person asks for the checks alone
        version = required_output(context.instance, recipe.keys.registered, partition_of(context))
        with told_to_dagster(tuneway):
            registration = AssetRegistration(context, recipe, tuneway)
            registration.look_at(version)
    else:
        job = _job_to_register(context, recipe)
        if job is None:
            context.log.info("No run waits for the job: the sensor asks for this step when the job has ended.")
            return
        with told_to_dagster(tuneway):
            registration = AssetRegistration(context, recipe, tuneway)
            registration.register(job)
        yield registration.result()
    wanted = {key.name for key in context.selected_asset_check_keys}
    yield from (result for result in registration.check_results() if result.check_name in wanted)


def _job_to_register(context: AssetExecutionContext, recipe: AssetRecipe) -> Mapping[str, Any] | None:
    """The job that the sensor names, or the model's; None where this very run submits one without waiting."""
    named = context.run.tags.get(JOB_TAG)
    if named:
        model = output_of(context.instance, recipe.keys.model, partition_of(context))
        return model if model and model["job_id"] == named else {"job_id": named}
    if recipe.wait == "sensor" and recipe.keys.job in context.job_def.asset_layer.executable_asset_keys:
        return None
    return required_output(context.instance, recipe.keys.model, partition_of(context))


class AssetRegistration:
    """Registers a model, and keeps what each gate said."""

    def __init__(self, context: AssetExecutionContext, recipe: AssetRecipe, tuneway: FineTuningResource) -> None:
        self._context = context
        self._recipe = recipe
        self._tuneway = tuneway
        self._gates = [Heard(gate, _checks.gate_name(gate)) for gate in recipe.gates]
        self._base: _checks.NoWorseThanBase | None = None
        self._version: ModelVersion | None = None
        questions = recipe.questions(partition_of(context))
        if questions is not None:
            self._base = _checks.NoWorseThanBase(questions, recipe.score)
            self._gates.append(Heard(self._base.asking(tuneway.client), _checks.BASE))

    @property
    def version(self) -> ModelVersion:
        """The version, once there is one."""
        assert self._version is not None
        return self._version

    @property
    def refusals(self) -> list[Verdict]:
        """The verdicts of the gates that refuse."""
        return [gate.verdict for gate in self._gates if gate.verdict and not gate.verdict.passed]

    def register(self, job: Mapping[str, Any]) -> None:
        """Register it, and evaluate all gates; `job` is the output of the step before."""
        context, recipe = self._context, self._recipe
        try:
            self._version = self._tuneway.client.register(
                job,
                name=recipe.model_name(partition_of(context)),
                registry=self._tuneway.registry,
                alias=recipe.alias,
                checkpoint=recipe.checkpoint,
                gates=self._gates,
                data=self._data(job),
                origin=requester_of(context, recipe.keys.registered),
            )
        except GateRefused as refusal:
            self._context.log.warning(str(refusal))
            self._version = refusal.version
        for warning in self.version.warnings:
            self._context.log.warning(one_line(warning, 1000))
        if not all(gate.verdict for gate in self._gates):
            self._ask_gates()

    def look_at(self, version: Mapping[str, Any]) -> None:
        """Evaluate all gates for a version that is registered already; `version` is the output of that step."""
        self._version = self._registry.get(version["ref"])
        self._ask_gates()

    def result(self) -> MaterializeResult[Any]:
        """The materialization of the registered version."""
        output = version_summary(self.version)
        link = {"job": job_link(self.version.record.job_id, self._tuneway.client.base_url)}
        return MaterializeResult(
            asset_key=self._recipe.keys.registered,
            metadata=version_metadata(self.version) | link | output_metadata(output),
            data_version=DataVersion(self.version.ref),
            value=output,
        )

    def check_results(self) -> list[AssetCheckResult]:
        """The results of the checks: what the gates said."""
        verdicts = {gate.__name__: gate.verdict for gate in self._gates if gate.verdict}
        return _checks.model_check_results(verdicts, self._base, self._recipe.keys.registered)

    def _data(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the upload found in the data; the registry takes what belongs to the job's files, by the hash.

        An earlier version's output of the job doesn't have it, nor has a job that only the run's tag names.
        """
        if data_facts(job):
            return []
        uploaded = output_of(self._context.instance, self._recipe.keys.training_file, partition_of(self._context))
        return [uploaded] if uploaded else []

    @property
    def _registry(self) -> Registry:
        return open_registry(self._tuneway.registry or default_uri())

    def _ask_gates(self) -> None:
        """Evaluate the gates that the registry skipped because no alias moves."""
        try:
            champion = self._registry.get(f"{self.version.name}@{CHAMPION}").record
        except NotRegistered:
            champion = None
        for gate in self._gates:
            gate(self.version.record, champion)


class Heard:
    """A gate that keeps its verdict."""

    def __init__(self, gate: GateLike, name: str) -> None:
        self._gate = gate
        self.__name__ = name
        self.verdict: Verdict | None = None

    def __call__(self, candidate: ModelRecord, champion: ModelRecord | None) -> Verdict:
        """Evaluate it."""
        (self.verdict,) = judge([self._gate], candidate, champion)
        return self.verdict
