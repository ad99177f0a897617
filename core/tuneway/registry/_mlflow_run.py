"""The run and the logged model of a version in MLflow, whose UI shows their metrics.

Both are created before the version that names them, so the registry doesn't show them until then. They have the
version's key as a tag: by it, those of an interrupted registration are found and deleted. The run has the status
RUNNING until its version is complete, which shows that a registration was interrupted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tuneway.errors import RegistryError
from tuneway.models._curve import CurveRow, points
from tuneway.registry._mlflow_calls import EXISTS, Calls
from tuneway.registry.records import ModelRecord

KEY = "tuneway.key"
_METRIC_NAME = re.compile(r"[\w\-./: ]{1,250}")
_BATCH = 1000
_VALUE = 500


@dataclass(frozen=True)
class VersionRun:
    """The run and the logged model of one version."""

    run_id: str
    model_id: str


class VersionRuns:
    """The runs and logged models of one model name, in their own experiment."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name
        self._experiment = _experiment(calls, f"tuneway/{name}")

    def create(self, record: ModelRecord, key: str, curve: Sequence[CurveRow]) -> VersionRun:
        """Create the run and the logged model for a new version."""
        run_id = self._make_run(record, key)
        model_id = self._make_model(record, key, run_id)
        self._log(run_id, record, model_id, curve)
        self._calls("finalize_logged_model", model_id, "READY")
        return VersionRun(run_id, model_id)

    def unfinished(self) -> set[str]:
        """The keys of all runs whose registration isn't complete."""
        runs = self._calls.pages("search_runs", [self._experiment], "attributes.status = 'RUNNING'")
        return {run.data.tags[KEY] for run in runs if KEY in run.data.tags}

    def finish(self, key: str, keep: VersionRun, version: int) -> None:
        """Link a run and its logged model to their version, and delete others with the same key."""
        same = f"tags.`{KEY}` = '{key}'"
        for model in self._calls.pages("search_logged_models", [self._experiment], filter_string=same):
            if model.model_id != keep.model_id:
                self._calls.unless_missing("delete_logged_model", model.model_id)
        for run in self._calls.pages("search_runs", [self._experiment], same):
            if run.info.run_id != keep.run_id:
                self._calls.unless_missing("delete_run", run.info.run_id)
        link = json.dumps([{"name": self._name, "version": version}])
        self._calls("set_logged_model_tags", keep.model_id, {"mlflow.modelVersions": link})
        self._calls("update_run", keep.run_id, status="FINISHED")

    def _make_run(self, record: ModelRecord, key: str) -> str:
        start = record.job_created_at or record.created_at
        run = self._calls(
            "create_run",
            self._experiment,
            start_time=_milliseconds(start),
            tags={KEY: key, "tuneway.job_id": record.job_id},
            run_name=record.job_id,
        )
        return str(run.info.run_id)

    def _make_model(self, record: ModelRecord, key: str, run_id: str) -> str:
        model = self._calls(
            "create_logged_model",
            self._experiment,
            name=record.name.replace(".", "-"),  # MLflow allows no dot in the name of a logged model
            source_run_id=run_id,
            tags={KEY: key, "mlflow.model.isExternal": "true", "tuneway.model_id": record.model_id},
            params=_params(record),
            model_type="fine-tuned",
        )
        return str(model.model_id)

    def _log(self, run_id: str, record: ModelRecord, model_id: str, curve: Sequence[CurveRow]) -> None:
        from mlflow.entities import Metric, Param

        at = _milliseconds(record.job_finished_at or record.created_at)
        drawn = {place: value for place, value in points(curve).items() if _METRIC_NAME.fullmatch(place[0])}
        measured = points([{"step": c.step, **c.metrics} for c in record.checkpoints if c.step is not None])
        last = max((step for _, step in [*drawn, *measured]), default=0)
        chosen = next((c.step for c in record.checkpoints if c.id == record.checkpoint and c.step is not None), last)
        measured |= points([{"step": chosen, **record.metrics}])
        metrics = [
            Metric(name, value, at, step) for (name, step), value in drawn.items() if (name, step) not in measured
        ]
        metrics += [Metric(name, value, at, step, model_id=model_id) for (name, step), value in measured.items()]
        params = [Param(name, value) for name, value in _params(record).items()]
        self._calls("log_batch", run_id, params=params)
        for start in range(0, len(metrics), _BATCH):
            self._calls("log_batch", run_id, metrics=metrics[start : start + _BATCH])


def _experiment(calls: Calls, title: str) -> str:
    """Find or create an experiment. Its title is unique."""
    experiment = calls("get_experiment_by_name", title)
    if experiment is None:
        try:
            return str(calls("create_experiment", title))
        except RegistryError as error:
            if error.code != EXISTS:
                raise
        experiment = calls("get_experiment_by_name", title)
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"{calls.uri}: the experiment {title} was deleted",
            hint=f"Restore it: mlflow experiments restore --experiment-id {experiment.experiment_id}.",
            registry=calls.uri,
        )
    return str(experiment.experiment_id)


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _params(record: ModelRecord) -> dict[str, str]:
    facts = {
        "base_model": record.base_model,
        "method": record.method,
        "trainer": record.trainer,
        "seed": record.seed,
        "trained_tokens": record.trained_tokens,
        **record.resolved,
    }
    return {name: str(value)[:_VALUE] for name, value in facts.items() if value is not None}
